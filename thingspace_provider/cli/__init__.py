"""Console script `thingspace`: one module for each command, imported when the command runs."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

# command -> help. The module of the same name holds the click command, named `command`.
COMMANDS = {
    "doctor": "Check the configuration, ThingSpace and the listeners.",
    "lint": "Check stack files.",
    "registrations": "List what is registered with ThingSpace.",
    "emulator": "Run an emulator of ThingSpace on this machine.",
    "listener": "Run a listener: it receives, stores and forwards callbacks.",
    "messages": "List the messages that a listener has stored.",
}

EXTRAS = {"emulator": "emulator"}  # command -> extra that installs its packages; the others need `listener` at most


class LazyGroup(click.Group):
    """Command group that imports the module of a command when the command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command, in the order of COMMANDS."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module, or explain which extra is missing."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "listener":  # a SIGHUP during the imports is delivered when the listener can reload its settings
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
            if os.getpid() == 1:  # in a container, the kernel discards a signal that has no handler
                signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            module = importlib.import_module(f"{__name__}.{cmd_name}")
        except ModuleNotFoundError as error:
            raise _name_extra(cmd_name, error) from None
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or explain which extra is missing."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            raise _name_extra(ctx.invoked_subcommand or "", error) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names of commands without an import."""
        del ctx
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without an import, so that help works without the extras."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _name_extra(command: str, error: ModuleNotFoundError) -> Exception:
    """Return an error that names the extra of a missing package; the same error if the package is our own."""
    if (error.name or "").startswith(__name__.partition(".")[0]):
        return error
    extra = EXTRAS.get(command, "listener")
    return click.ClickException(
        f"`thingspace {command}` needs the package {error.name}. "
        f"Install the extra in a clone: pip install -e '.[{extra}]'"
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thingspace-provider", prog_name="thingspace")
def main() -> None:
    """Tools for SMS callbacks on Verizon ThingSpace."""
