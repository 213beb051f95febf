"""Command `thingspace emulator`."""

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
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 selects a free one."
)
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="Account. Repeat for more.")
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE", help="Value of a switch. Repeat for more.")
@click.option("--scenario", type=PATH, metavar="FILE", help="Accounts, messages, faults and more, in YAML.")
@click.option("--state", type=PATH, metavar="FILE", help="Keep the platform state in this file across restarts.")
@click.option("--ca-file", type=PATH, metavar="FILE", help="Certificate authority of listeners, in PEM.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready.")
@click.pass_context
def command(context: click.Context, /, host: str, port: int, state: Path | None, as_json: bool, **options: Any) -> None:
    """Run an emulator of ThingSpace on this machine, until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    from thingspace_provider.emulator.platform.state_json import InvalidState  # noqa: PLC0415
    from thingspace_provider.emulator.runtime.server import PREFIX, base_url, bind, serve  # noqa: PLC0415
    from thingspace_provider.emulator.runtime.state_file import load_state_file  # noqa: PLC0415 - `env` does not need the extra

    config = replace(_build_config(**options), host=host)
    try:
        config = load_state_file(config, state) if state is not None else config
    except InvalidState as error:
        raise click.ClickException(f"the state file cannot be used: {error}") from error
    try:
        server = bind(host, port)
    except OSError as error:
        detail = error.strerror or error
        raise click.ClickException(f"cannot listen on {host}:{port}: {detail}. Choose another --port.") from error
    root = base_url(server)

    def ready(emulator: Emulator) -> None:
        connection = emulator.connection(root + PREFIX)
        click.echo(json.dumps(connection) if as_json else _format_ready(connection, root))

    with server:
        serve(config, server, ready, state)


@command.command("env")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the emulator.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(1, 65535), help="Its port.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of export lines.")
def env(host: str, port: int, as_json: bool) -> None:
    """Print the environment variables for a running emulator: eval "$(thingspace emulator env)"."""
    root = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        with build_opener(ProxyHandler({})).open(f"{root}/_emulator/connection", timeout=5) as response:
            connection = json.load(response)
        variables = {
            "THINGSPACE_BASE_URL": connection["url"],
            "THINGSPACE_APP_KEY": connection["appKey"],
            "THINGSPACE_APP_SECRET": connection["appSecret"],
            "THINGSPACE_USERNAME": connection["username"],
            "THINGSPACE_PASSWORD": connection["password"],
        }
    except (URLError, OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"no emulator is running at {root}. Start one in another terminal: thingspace emulator --port {port}"
        ) from error
    if as_json:
        click.echo(json.dumps(variables))
    else:
        click.echo("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))


def _build_config(
    accounts: tuple[str, ...], switches: tuple[str, ...], scenario: Path | None, ca_file: Path | None
) -> EmulatorConfig:
    """Build the configuration from the options. --switch takes precedence over the scenario."""
    from thingspace_provider.emulator.emulator import EmulatorConfig  # noqa: PLC0415 - `env` does not need the extra
    from thingspace_provider.emulator.platform.callback_sender import InvalidCertificateAuthority, load_ca  # noqa: PLC0415
    from thingspace_provider.emulator.platform.state import default_state  # noqa: PLC0415
    from thingspace_provider.emulator.platform.switches import InvalidSwitch, Switches  # noqa: PLC0415
    from thingspace_provider.emulator.runtime.scenario import InvalidScenario, load_scenario  # noqa: PLC0415

    if accounts and scenario is not None:
        raise click.UsageError("--account and --scenario both declare accounts. Use one of them.")
    try:
        if ca_file is not None:
            load_ca(str(ca_file))
    except InvalidCertificateAuthority as error:
        raise click.BadParameter(str(error), param_hint="--ca-file") from error
    try:
        config = load_scenario(scenario) if scenario is not None else EmulatorConfig()
    except InvalidScenario as error:
        raise click.BadParameter(str(error), param_hint="--scenario") from error
    if accounts:
        config = replace(config, state=default_state(accounts))
    current = Switches(config.switches)
    try:
        current.update(dict(_parse_pair(item) for item in switches))
    except InvalidSwitch as error:
        raise click.BadParameter(str(error), param_hint="--switch") from error
    return replace(config, switches=current.as_dict(), ca_file=str(ca_file) if ca_file is not None else config.ca_file)


def _format_ready(connection: dict[str, Any], root: str) -> str:
    return "\n".join(
        (
            f"The emulator is running. Base URL: {connection['url']}",
            "",
            f"  page         {root}/",
            f"  application  {connection['appKey']}",
            f"  user         {connection['username']}",
            f"  accounts     {', '.join(connection['accounts'])}",
            "",
            f'  environment of a client:  eval "$(thingspace emulator env --port {root.rpartition(":")[2]})"',
            f"  message from a device:    curl -X POST {root}/_emulator/messages \\",
            "      -H content-type:application/json \\",
            f"""      -d '{{"accountName": "{connection["accounts"][0]}", "message": "T=21.5"}}'""",
            "",
            "Press Ctrl-C to stop.",
        )
    )


def _parse_pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise click.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--switch")
    return name, value
