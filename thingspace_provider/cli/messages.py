"""`thingspace messages`: messages that a listener has stored."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from thingspace_provider.cli import delivery_commands, listener_client
from thingspace_provider.cli.delivery_commands import open_store
from thingspace_provider.cli.listener_client import ListenerClient, ListenerClientError, MessageFilters
from thingspace_provider.cli.output import (
    exit_with_error,
    format_time,
    listener_options,
    print_json,
    print_line,
    print_note,
    print_table,
    store_option,
)
from thingspace_provider.common.backoff import exponential_backoff, no_jitter

POLL_INTERVAL_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 8.0
HEADINGS = ("ID", "RECEIVED", "ACCOUNT", "DEVICE", "TEXT")
WIDTHS = (6, 25, 17, 22)

EXAMPLE = """
\b
Examples:
  thingspace messages                    # the local listeners of `pulumi up`
  thingspace messages --store .thingspace/listeners/dev-listener/inbox.sqlite3
  thingspace messages --follow --account 0000123456-00001
  thingspace messages --device 5551230001 --contains alarm --since 2026-03-01
  THINGSPACE_LISTENER_API_TOKEN=… thingspace messages --url https://inbox.example.com --json
  thingspace messages show 17            # one message and its deliveries
  thingspace messages dead-letters       # entries that are no longer attempted
  thingspace messages retry 17           # or retry --all, or discard
"""


class Time(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no type parameters
    """A day as 2026-03-01, or a time with its zone as 2026-03-01T08:15:30Z."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form. The listener interprets the value."""
        text = str(value)
        if not _is_time(text):
            self.fail(f"{text!r} is not a day as 2026-03-01 or a time as 2026-03-01T08:15:30Z", param, ctx)
        return text


def _is_time(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00")).tzinfo is not None
        except ValueError:
            return False
    return True


@click.group(epilog=EXAMPLE, invoke_without_command=True)
@listener_options
@store_option
@click.option("--account", help="Only messages of this account.")
@click.option("--device", help="Only messages of this device, as 5551230001 or mdn:5551230001.")
@click.option("--contains", metavar="TEXT", help="Only messages that contain this text.")
@click.option(
    "--since", type=Time(), metavar="TIME", help="Received at or after this time: a day or 2026-03-01T08:15:30Z."
)
@click.option("--until", type=Time(), metavar="TIME", help="Received at or before this time; a day counts whole.")
@click.option(
    "--limit",
    type=click.IntRange(1, listener_client.PAGE_SIZE),
    default=100,
    show_default=True,
    help="Number of messages: the newest ones.",
)
@click.option("--follow", is_flag=True, help="Print new messages as they are stored, until Ctrl+C.")
@click.option("--json", "as_json", is_flag=True, help='Print {"messages": […]}; with --follow one message a line.')
@click.pass_context
def command(
    context: click.Context,
    /,
    url: str | None,
    state_dir: Path,
    store: Path | None,
    limit: int,
    follow: bool,
    as_json: bool,
    **filters: str | None,
) -> None:
    """List messages that a listener has stored, newest last.

    Without --url and --store, the command reads all local listeners. Duplicates are marked.
    """
    if context.invoked_subcommand is not None:
        if any(context.get_parameter_source(name) == ParameterSource.COMMANDLINE for name in context.params):
            raise click.UsageError(f"Give options behind `{context.invoked_subcommand}`.")
        return
    if store and (url or follow):
        raise click.UsageError("--store reads without a listener. Leave out --url and --follow.")
    clients: list[ListenerClient] = []
    try:
        if store:
            messages = open_store(store).fetch_newest(limit, filters)
        else:
            selected = listener_client.select_clients(url, state_dir, os.environ)
            clients, messages = _fetch_newest(selected, limit, filters)
        if follow:
            _follow(clients, filters, messages, as_json)
        elif as_json:
            print_json({"messages": messages})
        elif messages:
            _print_rows([HEADINGS, *map(_format_row, messages)])
        elif any(filters.values()):
            print_line("No messages match.")
        else:
            print_line("No messages yet. Send one from a device, or wait with --follow.")
    except ListenerClientError as error:
        exit_with_error(error)


command.add_command(delivery_commands.show)
command.add_command(delivery_commands.dead_letters)
command.add_command(delivery_commands.retry)
command.add_command(delivery_commands.discard)


def _fetch_newest(
    clients: list[ListenerClient], limit: int, filters: MessageFilters
) -> tuple[list[ListenerClient], list[dict[str, Any]]]:
    """Return the available listeners and their newest messages. A stopped listener is noted and left out."""
    results = [(client, _fetch_or_error(client, limit, filters)) for client in clients]
    available = [client for client, result in results if not isinstance(result, listener_client.ListenerUnavailable)]
    messages = []
    for _, result in results:
        if isinstance(result, list):
            messages += result
        elif not available:
            raise result
        else:
            print_note(f"{result}.")
    return available, _sort_by_receive_time(messages)[-limit:]


def _fetch_or_error(
    client: ListenerClient, limit: int, filters: MessageFilters
) -> list[dict[str, Any]] | listener_client.ListenerUnavailable:
    try:
        return client.fetch_newest(limit, filters)
    except listener_client.ListenerUnavailable as error:
        return error


class Follower:
    """Polls one listener. Retries with backoff while it is unavailable; the cursor stays."""

    def __init__(self, client: ListenerClient) -> None:
        self._client = client
        self._failed_attempts = 0  # in a row
        self._next_attempt_at = 0.0

    def fetch_next(self, filters: MessageFilters) -> list[dict[str, Any]]:
        """Return the messages since the last call; none while the listener is unavailable, which is noted once."""
        if time.monotonic() < self._next_attempt_at:
            return []
        try:
            messages = self._client.fetch_next(filters)
        except listener_client.ListenerUnavailable as error:
            if not self._failed_attempts:
                print_note(f"{error}. Retrying.")
            backoff = exponential_backoff(self._failed_attempts, POLL_INTERVAL_SECONDS, MAX_BACKOFF_SECONDS, no_jitter)
            self._failed_attempts += 1
            self._next_attempt_at = time.monotonic() + backoff
            return []
        if self._failed_attempts:
            print_note(f"the listener at {self._client.url} responds again.")
        self._failed_attempts = 0
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
                    print_json(message)
            else:
                _print_rows(map(_format_row, messages))
            if not messages:
                time.sleep(POLL_INTERVAL_SECONDS)
            messages = _sort_by_receive_time(
                message for follower in followers for message in follower.fetch_next(filters)
            )
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def _sort_by_receive_time(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the messages of several listeners. The sort is stable: each listener keeps its commit order."""
    return sorted(messages, key=lambda message: str(message["receivedAt"]))


def _format_row(message: dict[str, Any]) -> tuple[str, ...]:
    devices = [f"{device['kind']} {device['id']}" for device in message["devices"]]
    marker = "  (duplicate)" if message["duplicateOf"] is not None else ""
    return (
        str(message["id"]),
        format_time(message["receivedAt"]),
        str(message["account"]),
        devices[0] + (f" +{len(devices) - 1}" if len(devices) > 1 else "") if devices else "-",
        f"{message['text']}{marker}",
    )


def _print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    print_table(rows, WIDTHS)
    sys.stdout.flush()
