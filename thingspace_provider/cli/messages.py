"""`thingspace messages`: the texts that a listener has stored."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from thingspace_provider.cli import delivery_commands, listener_client
from thingspace_provider.cli.listener_client import Inbox, Unread, Wanted
from thingspace_provider.cli.output import end, table, visible, which_inboxes

POLL_SECONDS, LONGEST_PAUSE = 0.5, 8.0
HEADINGS = ("ARRIVED", "ACCOUNT", "DEVICE", "TEXT")
WIDTHS = (25, 17, 22)

EXAMPLE = """
\b
Examples:
  thingspace messages                    # the local listeners of `pulumi up`
  thingspace messages --follow --account 0000123456-00001
  thingspace messages --device 5551230001 --text alarm --from 2026-03-01
  THINGSPACE_LISTENER_API_TOKEN=… thingspace messages --url https://sms.example.com --json
  thingspace messages show 17            # what became of one
  thingspace messages dead               # what the sinks did not take
  thingspace messages retry 17           # or retry --all, or discard
"""


@click.group(epilog=EXAMPLE, invoke_without_command=True)
@which_inboxes
@click.option("--account", help="Only the texts of this account.")
@click.option("--device", help="Only those of this device: an identifier, as 5551230001 or mdn:5551230001.")
@click.option("--text", help="Only those that contain this.")
@click.option("--from", metavar="TIME", help="Received then or later, as 2026-03-01 or 2026-03-01T08:15:30Z.")
@click.option("--until", metavar="TIME", help="Received then or before; a day is meant whole.")
@click.option(
    "--limit", type=click.IntRange(1, listener_client.PAGE), default=100, show_default=True, help="The newest N."
)
@click.option("--follow", is_flag=True, help="Go on with what arrives, until Ctrl+C.")
@click.option("--json", "as_json", is_flag=True, help='Print {"messages": […]}; with --follow one message a line.')
@click.pass_context
def command(
    context: click.Context,
    /,
    url: str | None,
    state_dir: Path,
    limit: int,
    follow: bool,
    as_json: bool,
    **wanted: str | None,
) -> None:
    """The texts that a listener has stored, newest last.

    Without --url, those of all local listeners. A text that ThingSpace seems to have delivered twice is marked.
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) == ParameterSource.COMMANDLINE for name in context.params):
            raise click.UsageError(f"Give options behind `{context.invoked_subcommand}`.")
        return
    try:
        sources, found = _newest(listener_client.chosen(url, state_dir, os.environ), limit, wanted)
        if follow:
            _follow(sources, wanted, found, as_json)
        elif as_json:
            click.echo(json.dumps({"messages": found}, ensure_ascii=False))
        elif found:
            _print([HEADINGS, *map(_row, found)])
        elif any(wanted.values()):
            click.echo("No such text has arrived.")
        else:
            click.echo("No text has arrived yet. Have a device send one, or see with `--follow` when one comes.")
    except Unread as reason:
        end(f"Error: {reason}.")


command.add_command(delivery_commands.show)
command.add_command(delivery_commands.dead)
command.add_command(delivery_commands.retry)
command.add_command(delivery_commands.discard)


def _newest(sources: list[Inbox], limit: int, wanted: Wanted) -> tuple[list[Inbox], list[dict[str, Any]]]:
    """The inboxes that answer and their newest messages; one that was stopped does not hide the others."""
    answers = [(inbox, _tried(inbox, limit, wanted)) for inbox in sources]
    answering = [inbox for inbox, answer in answers if not isinstance(answer, listener_client.Unreachable)]
    found = []
    for _, answer in answers:
        if isinstance(answer, list):
            found += answer
        elif not answering:
            raise answer
        else:
            click.echo(f"Note: {answer}.", err=True)
    return answering, _by_arrival(found)[-limit:]


def _tried(inbox: Inbox, limit: int, wanted: Wanted) -> list[dict[str, Any]] | listener_client.Unreachable:
    try:
        return inbox.newest(limit, wanted)
    except listener_client.Unreachable as problem:
        return problem


class Followed:
    """An inbox that is asked again and again: while it cannot be read less and less often, and its cursor stays."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._pause = 0.0  # 0 while it answers
        self._due = 0.0

    def later(self, wanted: Wanted) -> list[dict[str, Any]]:
        """What came since the last question, nothing while it cannot be read, which is told once. Raises Unread."""
        if time.monotonic() < self._due:
            return []
        try:
            found = self._inbox.later(wanted)
        except listener_client.Unreachable as problem:
            if not self._pause:
                click.echo(f"Note: {problem}. It is asked again.", err=True)
            self._pause = min(2 * self._pause or POLL_SECONDS, LONGEST_PAUSE)
            self._due = time.monotonic() + self._pause
            return []
        if self._pause:
            click.echo(f"Note: the listener at {self._inbox.url} answers again.", err=True)
        self._pause = 0.0
        return found


def _follow(sources: list[Inbox], wanted: Wanted, found: list[dict[str, Any]], as_json: bool) -> NoReturn:
    followed = [Followed(inbox) for inbox in sources]
    try:
        if not as_json:
            _print([HEADINGS])
        while True:
            if as_json:
                for message in found:
                    click.echo(json.dumps(message, ensure_ascii=False))
            else:
                _print(map(_row, found))
            if not found:
                time.sleep(POLL_SECONDS)
            found = _by_arrival(message for inbox in followed for message in inbox.later(wanted))
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _by_arrival(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several listeners in one order; stable, so that each keeps its order of storage."""
    return sorted(messages, key=lambda message: str(message["receivedAt"]))


def _row(message: dict[str, Any]) -> tuple[str, ...]:
    arrived = datetime.fromisoformat(str(message["receivedAt"]).replace("Z", "+00:00")).astimezone()
    devices = [f"{device['kind']} {device['id']}" for device in message["devices"]]
    text = visible(str(message["text"]))
    if message["duplicateOf"] is not None:
        text = f"{text}  (delivered again)"
    device = devices[0] + (f" +{len(devices) - 1}" if len(devices) > 1 else "") if devices else "-"
    return (arrived.isoformat(" ", "seconds"), visible(str(message["account"])), visible(device), text)


def _print(rows: Iterable[tuple[str, ...]]) -> None:
    table(rows, WIDTHS)
    sys.stdout.flush()
