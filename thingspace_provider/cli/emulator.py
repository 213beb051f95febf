"""`thingspace emulator`: ThingSpace on this machine."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import click

if TYPE_CHECKING:
    from thingspace_provider.emulator.emulator import Emulator, EmulatorConfig

DEFAULT_PORT = 8700
PATH = click.Path(path_type=Path, dir_okay=False)
EXAMPLE = """\b
Examples:
  thingspace emulator
  thingspace emulator --port 0 --json
  thingspace emulator --scenario locked-user.yaml --state .thingspace/emulator.json
  thingspace emulator --switch preset=documented
  eval "$(thingspace emulator env)"
"""


@click.group("emulator", invoke_without_command=True, epilog=EXAMPLE)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="An account; again for more.")
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE", help="How an unknown is answered.")
@click.option("--scenario", type=PATH, metavar="FILE", help="Accounts, texts, faults and more to start with, in YAML.")
@click.option("--state", type=PATH, metavar="FILE", help="Keep the state here across restarts.")
@click.option("--ca-file", type=PATH, metavar="FILE", help="A further authority for listeners' certificates, in PEM.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready, instead of a text.")
@click.pass_context
def command(context: click.Context, /, host: str, port: int, state: Path | None, as_json: bool, **options: Any) -> None:
    """Run an emulator of ThingSpace on this machine, until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    from thingspace_provider.emulator.platform.state_json import InvalidState  # noqa: PLC0415
    from thingspace_provider.emulator.runtime.server import PREFIX, base_url, bind, serve  # noqa: PLC0415
    from thingspace_provider.emulator.runtime.state_file import load_state_file  # noqa: PLC0415 - `env` and `--help` need none of it

    setup = _build_config(**options)
    try:
        setup = load_state_file(setup, state) if state is not None else setup
    except InvalidState as error:
        raise click.ClickException(f"the state cannot be used: {error}") from error
    try:
        server = bind(host, port)
    except OSError as error:
        reason = error.strerror or error
        raise click.ClickException(f"cannot listen on {host}:{port}: {reason}. Choose another --port.") from error
    root = base_url(server)

    def ready(emulator: Emulator) -> None:
        facts = emulator.connection(root + PREFIX)
        click.echo(json.dumps(facts) if as_json else _ready_text(facts, root))

    with server:
        serve(setup, server, ready, state)


@command.command("env")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the emulator listens.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of export lines.")
def env(host: str, port: int, as_json: bool) -> None:
    """Print the environment of an emulator that runs, for a shell: eval "$(thingspace emulator env)"."""
    root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        with build_opener(ProxyHandler({})).open(f"{root}/_emulator/connection", timeout=5) as response:
            facts = json.load(response)
        variables = {
            "THINGSPACE_BASE_URL": facts["url"],
            "THINGSPACE_APP_KEY": facts["appKey"],
            "THINGSPACE_APP_SECRET": facts["appSecret"],
            "THINGSPACE_USERNAME": facts["username"],
            "THINGSPACE_PASSWORD": facts["password"],
        }
    except (URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"no emulator answers at {root}. Start one in another terminal: thingspace emulator --port {port}"
        ) from error
    if as_json:
        click.echo(json.dumps(variables))
    else:
        click.echo("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))


def _build_config(
    accounts: tuple[str, ...], switches: tuple[str, ...], scenario: Path | None, ca_file: Path | None
) -> EmulatorConfig:
    """What the options together ask for; single switches win over the scenario's."""
    from thingspace_provider.emulator.emulator import EmulatorConfig  # noqa: PLC0415 - `env` and `--help` need none of it
    from thingspace_provider.emulator.platform.callback_sender import InvalidCertificateAuthority, load_ca  # noqa: PLC0415
    from thingspace_provider.emulator.platform.state import default_state  # noqa: PLC0415
    from thingspace_provider.emulator.platform.switches import InvalidSwitch, Switches  # noqa: PLC0415
    from thingspace_provider.emulator.runtime.scenario import InvalidScenario, load_scenario  # noqa: PLC0415

    if accounts and scenario is not None:
        raise click.UsageError("--account and --scenario both say which accounts there are; use one of them")
    try:
        if ca_file is not None:
            load_ca(str(ca_file))
    except InvalidCertificateAuthority as error:
        raise click.BadParameter(str(error), param_hint="--ca-file") from error
    try:
        setup = load_scenario(scenario) if scenario is not None else EmulatorConfig()
    except InvalidScenario as error:
        raise click.BadParameter(str(error), param_hint="--scenario") from error
    if accounts:
        setup = replace(setup, state=default_state(accounts))
    current = Switches(setup.switches)
    try:
        current.update(dict(_parse_pair(item) for item in switches))
    except InvalidSwitch as error:
        raise click.BadParameter(str(error), param_hint="--switch") from error
    return replace(setup, switches=current.as_dict(), ca_file=str(ca_file) if ca_file is not None else setup.ca_file)


def _ready_text(facts: dict[str, Any], root: str) -> str:
    """What a person needs to begin."""
    return "\n".join(
        (
            f"ThingSpace is emulated at {facts['url']}",
            "",
            f"  page         {root}/",
            f"  application  {facts['appKey']}",
            f"  user         {facts['username']}",
            f"  accounts     {', '.join(facts['accounts'])}",
            "",
            f'  in another terminal:    eval "$(thingspace emulator env --port {root.rpartition(":")[2]})"',
            f"  a device sends a text:  curl -X POST {root}/_emulator/messages \\",
            "      -H content-type:application/json \\",
            f"""      -d '{{"accountName": "{facts["accounts"][0]}", "message": "T=21.5"}}'""",
            "",
            "Ctrl-C ends it.",
        )
    )


def _parse_pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise click.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--switch")
    return name, value
