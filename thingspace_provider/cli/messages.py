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
from thingspace_provider.cli.listener_client import ListenerClient, ListenerClientError, MessageFilters
from thingspace_provider.cli.output import escape_control_characters, exit_with_error, listener_options, print_table

POLL_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 8.0
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
@listener_options
@click.option("--account", help="Only the texts of this account.")
@click.option("--device", help="Only those of this device: an identifier, as 5551230001 or mdn:5551230001.")
@click.option("--text", help="Only those that contain this.")
@click.option("--from", metavar="TIME", help="Received then or later, as 2026-03-01 or 2026-03-01T08:15:30Z.")
@click.option("--until", metavar="TIME", help="Received then or before; a day is meant whole.")
@click.option(
    "--limit", type=click.IntRange(1, listener_client.PAGE_SIZE), default=100, show_default=True, help="The newest N."
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
    **filters: str | None,
) -> None:
    """The texts that a listener has stored, newest last.

    Without --url, those of all local listeners. A text that ThingSpace seems to have delivered twice is marked.
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) == ParameterSource.COMMANDLINE for name in context.params):
            raise click.UsageError(f"Give options behind `{context.invoked_subcommand}`.")
        return
    try:
        clients, messages = _fetch_newest(listener_client.select_clients(url, state_dir, os.environ), limit, filters)
        if follow:
            _follow(clients, filters, messages, as_json)
        elif as_json:
            click.echo(json.dumps({"messages": messages}, ensure_ascii=False))
        elif messages:
            _print_rows([HEADINGS, *map(_format_row, messages)])
        elif any(filters.values()):
            click.echo("No such text has arrived.")
        else:
            click.echo("No text has arrived yet. Have a device send one, or see with `--follow` when one comes.")
    except ListenerClientError as error:
        exit_with_error(f"Error: {error}.")


command.add_command(delivery_commands.show)
command.add_command(delivery_commands.dead_letters)
command.add_command(delivery_commands.retry)
command.add_command(delivery_commands.discard)


def _fetch_newest(
    clients: list[ListenerClient], limit: int, filters: MessageFilters
) -> tuple[list[ListenerClient], list[dict[str, Any]]]:
    """The inboxes that answer and their newest messages; one that was stopped does not hide the others."""
    results = [(client, _fetch_or_error(client, limit, filters)) for client in clients]
    available = [inbox for inbox, result in results if not isinstance(result, listener_client.ListenerUnavailable)]
    messages = []
    for _, answer in results:
        if isinstance(answer, list):
            messages += answer
        elif not available:
            raise answer
        else:
            click.echo(f"Note: {answer}.", err=True)
    return available, _sort_by_receive_time(messages)[-limit:]


def _fetch_or_error(
    client: ListenerClient, limit: int, filters: MessageFilters
) -> list[dict[str, Any]] | listener_client.ListenerUnavailable:
    try:
        return client.fetch_newest(limit, filters)
    except listener_client.ListenerUnavailable as error:
        return error


class Follower:
    """An inbox that is asked again and again: while it cannot be read less and less often, and its cursor stays."""

    def __init__(self, client: ListenerClient) -> None:
        self._client = client
        self._backoff_seconds = 0.0  # 0 while it answers
        self._next_attempt_at = 0.0

    def fetch_next(self, filters: MessageFilters) -> list[dict[str, Any]]:
        """What came since the last question, nothing while it cannot be read, which is told once. Raises Unread."""
        if time.monotonic() < self._next_attempt_at:
            return []
        try:
            messages = self._client.fetch_next(filters)
        except listener_client.ListenerUnavailable as error:
            if not self._backoff_seconds:
                click.echo(f"Note: {error}. It is asked again.", err=True)
            self._backoff_seconds = min(2 * self._backoff_seconds or POLL_SECONDS, MAX_BACKOFF_SECONDS)
            self._next_attempt_at = time.monotonic() + self._backoff_seconds
            return []
        if self._backoff_seconds:
            click.echo(f"Note: the listener at {self._client.url} answers again.", err=True)
        self._backoff_seconds = 0.0
        return messages


def _follow(
    clients: list[ListenerClient], filters: MessageFilters, messages: list[dict[str, Any]], as_json: bool
) -> NoReturn:
    followers = [Follower(client) for client in clients]
    try:
        if not as_json:
            _print_rows([HEADINGS])
        while True:
            if as_json:
                for message in messages:
                    click.echo(json.dumps(message, ensure_ascii=False))
            else:
                _print_rows(map(_format_row, messages))
            if not messages:
                time.sleep(POLL_SECONDS)
            messages = _sort_by_receive_time(message for inbox in followers for message in inbox.fetch_next(filters))
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _sort_by_receive_time(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several listeners in one order; stable, so that each keeps its order of storage."""
    return sorted(messages, key=lambda message: str(message["receivedAt"]))


def _format_row(message: dict[str, Any]) -> tuple[str, ...]:
    received_at = datetime.fromisoformat(str(message["receivedAt"]).replace("Z", "+00:00")).astimezone()
    devices = [f"{device['kind']} {device['id']}" for device in message["devices"]]
    text = escape_control_characters(str(message["text"]))
    if message["duplicateOf"] is not None:
        text = f"{text}  (delivered again)"
    device = devices[0] + (f" +{len(devices) - 1}" if len(devices) > 1 else "") if devices else "-"
    return (
        received_at.isoformat(" ", "seconds"),
        escape_control_characters(str(message["account"])),
        escape_control_characters(device),
        text,
    )


def _print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    print_table(rows, WIDTHS)
    sys.stdout.flush()
