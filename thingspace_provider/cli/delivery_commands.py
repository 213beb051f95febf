"""`thingspace messages show`, `dead-letters`, `retry` and `discard`: deliveries of stored messages to the sinks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thingspace_provider.cli import listener_client
from thingspace_provider.cli.listener_client import ListenerClientError
from thingspace_provider.cli.output import (
    exit_with_error,
    format_time,
    listener_options,
    print_json,
    print_line,
    print_table,
    store_option,
)

if TYPE_CHECKING:
    from thingspace_provider.cli.store_client import StoreClient

DELIVERY_HEADINGS = ("SINK", "STATE", "ATTEMPTS", "LAST ERROR")
DEAD_LETTER_HEADINGS = ("ID", "SINK", "DEAD-LETTERED", "ATTEMPTS", "LAST ERROR", "TEXT")


def open_store(path: Path) -> StoreClient:
    """Return the reader of a store. Raises ListenerClientError."""
    from thingspace_provider.cli.store_client import StoreClient  # noqa: PLC0415  needs the extra

    return StoreClient(path)


@click.command()
@click.argument("message_id", metavar="ID")
@listener_options
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print the message as one JSON object.")
def show(message_id: str, url: str | None, state_dir: Path, store: Path | None, as_json: bool) -> None:
    """Show one message and its delivery to each sink."""
    try:
        clients = [open_store(store)] if store else listener_client.select_clients(url, state_dir, os.environ)
        results = [client.fetch_message(message_id) for client in clients]
    except ListenerClientError as error:
        exit_with_error(error)
    histories = [history for history in results if history is not None]
    if not histories:
        exit_with_error(f"there is no message {message_id}. Run `thingspace messages` to list the ids")
    for history in histories:
        if as_json:
            print_json(history)
        else:
            _print_history(history)


@click.command("dead-letters")
@listener_options
@click.option("--json", "as_json", is_flag=True, help='Print {"deadLetters": […]}.')
def dead_letters(url: str | None, state_dir: Path, as_json: bool) -> None:
    """List dead letters: outbox entries that are no longer attempted, oldest first."""
    try:
        clients = listener_client.select_clients(url, state_dir, os.environ)
        letters = [letter for client in clients for letter in client.fetch_dead_letters()]
    except ListenerClientError as error:
        exit_with_error(error)
    if as_json:
        print_json({"deadLetters": letters})
    elif letters:
        print_table([DEAD_LETTER_HEADINGS, *map(_format_row, letters)], [0] * (len(DEAD_LETTER_HEADINGS) - 1))
        print_line("Deliver them again with `thingspace messages retry ID` or `retry --all`.")
    else:
        print_line("There are no dead letters.")


def dead_letter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the options that select dead letters."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the number as a JSON object.")(command)
    command = click.option("--sink", help="Only dead letters of this sink.")(listener_options(command))
    command = click.option("--all", "select_all", is_flag=True, help="All dead letters.")(command)
    return click.argument("message_id", metavar="[ID]", required=False)(command)


@click.command()
@dead_letter_options
def retry(**options: Any) -> None:
    """Retry one dead letter, or all of them."""
    _change_dead_letters("retry", "to be delivered again", **options)


@click.command()
@dead_letter_options
def discard(**options: Any) -> None:
    """Discard one dead letter, or all of them.

    With --sink and the name of a sink that no listener serves any more, its pending entries are discarded too.
    """
    _change_dead_letters("discard", "discarded", **options)


def _change_dead_letters(
    action: str,
    result: str,
    *,
    message_id: str | None,
    select_all: bool,
    sink: str | None,
    url: str | None,
    state_dir: Path,
    as_json: bool,
) -> None:
    if (message_id is None) != select_all:
        raise click.UsageError("Give either an ID or --all.")
    try:
        count = sum(
            client.change_dead_letters(action, message_id, sink)
            for client in listener_client.select_clients(url, state_dir, os.environ)
        )
    except ListenerClientError as error:
        exit_with_error(error)
    if not count and not select_all:
        exit_with_error(
            f"message {message_id} is not a dead letter. Run `thingspace messages dead-letters` to list them"
        )
    if as_json:
        print_json({listener_client.RESULT_KEYS[action]: count})
    else:
        print_line(f"{count} {result}")


def _print_history(history: dict[str, Any]) -> None:
    devices = ", ".join(f"{device['kind']} {device['id']}" for device in history["devices"]) or "-"
    for name, value in (
        ("received", format_time(history["receivedAt"], "milliseconds")),
        ("stored", format_time(history["storedAt"], "milliseconds") if history["storedAt"] else "-"),
        ("account", history["account"]),
        ("device", devices),
        ("duplicate of", history["duplicateOf"]),
        (history["kind"], history["text"] if history["text"] is not None else history["body"]),
    ):
        if value is not None:
            print_line(f"{name:<13} {value}")
    rows = [
        (delivery["sink"], delivery["state"], str(delivery["attempts"]), delivery["lastError"] or "-")
        for delivery in history["deliveries"]
    ]
    if rows:
        print_table([DELIVERY_HEADINGS, *rows], [12, 11, 8])
    else:
        print_line("No deliveries: no sink was configured when the message was stored.")


def _format_row(letter: dict[str, Any]) -> tuple[str, ...]:
    message = letter["message"]
    return (
        message["id"],
        letter["sink"],
        format_time(letter["deadLetteredAt"]) if letter["deadLetteredAt"] else "-",
        str(letter["attempts"]),
        letter["lastError"] or "-",
        message["text"] if message["text"] is not None else f"({message['kind']})",
    )
