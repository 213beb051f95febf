"""`thingspace emulator`: ThingSpace on this machine."""

from __future__ import annotations

import json
from typing import Any

import click

EXAMPLE = """\b
Examples:
  thingspace emulator
  thingspace emulator --port 0 --json
  thingspace emulator --account 0000123456-00001 --switch retryProfile=documented
"""


@click.group("emulator", invoke_without_command=True, epilog=EXAMPLE)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8700, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--account", "accounts", multiple=True, metavar="NAME", help="An account; again for more.")
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE", help="How an unknown is answered.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON when ready, instead of a text.")
@click.pass_context
def command(
    context: click.Context, host: str, port: int, accounts: tuple[str, ...], switches: tuple[str, ...], as_json: bool
) -> None:
    """Run an emulator of ThingSpace on this machine, until Ctrl-C."""
    if context.invoked_subcommand is not None:
        return
    from thingspace_provider.emulator.assembly import Emulator, Setup  # noqa: PLC0415 - `env --help` needs none of it
    from thingspace_provider.emulator.serving import PREFIX, address, bind, serve  # noqa: PLC0415
    from thingspace_provider.emulator.switches import Switches, UnknownSwitch  # noqa: PLC0415
    from thingspace_provider.emulator.world import DEFAULT_ACCOUNTS, seeded  # noqa: PLC0415

    wanted = dict(_pair(item) for item in switches)
    try:
        Switches(wanted)
    except UnknownSwitch as error:
        raise click.BadParameter(str(error), param_hint="--switch") from error
    setup = Setup(world=seeded(accounts or DEFAULT_ACCOUNTS), switches=wanted)
    try:
        server = bind(host, port)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from error
    root = address(server)

    def ready(emulator: Emulator) -> None:
        facts = connection(emulator, root + PREFIX)
        click.echo(json.dumps(facts) if as_json else readable(facts, root))

    with server:
        serve(setup, server, ready)


def connection(emulator: Any, url: str) -> dict[str, Any]:
    """What a client needs: base address, the first application, the first user, all accounts."""
    world = emulator.world
    app_key, app_secret = next(iter(world.apps.items()))
    username, user = next(iter(world.users.items()))
    return {
        "url": url,
        "appKey": app_key,
        "appSecret": app_secret,
        "username": username,
        "password": user.password,
        "accounts": list(world.accounts),
    }


def readable(facts: dict[str, Any], root: str) -> str:
    """The same for a person."""
    return "\n".join(
        (
            f"ThingSpace is emulated at {facts['url']}",
            "",
            f"  application  {facts['appKey']}",
            f"  user         {facts['username']}",
            f"  accounts     {', '.join(facts['accounts'])}",
            "",
            f"  a device sends a text:  curl -X POST {root}/_emulator/messages \\",
            "      -H content-type:application/json \\",
            f"""      -d '{{"accountName": "{facts["accounts"][0]}", "message": "T=21.5"}}'""",
            "",
            "Ctrl-C ends it.",
        )
    )


def _pair(item: str) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise click.BadParameter(f"{item!r} is not NAME=VALUE", param_hint="--switch")
    return name, value
