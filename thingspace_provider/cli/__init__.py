"""The console script `thingspace`: one module per command, imported when it is called."""

from __future__ import annotations

import importlib
import signal

import click

# command -> what it does; the module of the same name in this folder holds a click command called `command`
COMMANDS = {
    "doctor": "What is configured, what answers, and which step fails.",
    "lint": "Find mistakes in stack files.",
    "emulator": "An emulator of ThingSpace on this machine.",
    "listener": "The durable inbox that ThingSpace posts device texts to.",
    "messages": "The texts that a listener has stored.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of COMMANDS."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module, or explain which extra is missing."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "listener":  # whose SIGHUP waits, through the imports, until it can read settings anew
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
        try:
            module = importlib.import_module(f"{__name__}.{cmd_name}")
        except ModuleNotFoundError as error:
            if (error.name or "").startswith(__name__.partition(".")[0]):
                raise
            ctx.fail(
                f"`thingspace {cmd_name}` needs the package {error.name}, which is not installed. "
                f"Install the extra: pip install 'thingspace-provider[listener,emulator]'"
            )
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any, so that help works whatever extras are installed."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="thingspace-provider", prog_name="thingspace")
def main() -> None:
    """SMS callbacks on Verizon ThingSpace: the emulator, the listener, the inbox."""
