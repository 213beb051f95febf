"""`thingspace messages show`, `dead`, `retry` and `discard`: what became of stored texts on their way to the sinks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from thingspace_provider.cli import listener_client
from thingspace_provider.cli.listener_client import ListenerClientError
from thingspace_provider.cli.output import escape_control_characters, exit_with_error, listener_options, print_table

DELIVERY_HEADINGS = ("SINK", "STATE", "ATTEMPTS", "REASON")
DEAD_LETTER_HEADINGS = ("ID", "SINK", "GIVEN UP", "ATTEMPTS", "REASON", "TEXT")


@click.command()
@click.argument("number", metavar="ID")
@listener_options
@click.option("--json", "as_json", is_flag=True, help="Print the message as one JSON object.")
def show(number: str, url: str | None, state_dir: Path, as_json: bool) -> None:
    """One message: when it came and was stored, and how far it is with each sink."""
    try:
        results = [
            client.fetch_message(number) for client in listener_client.select_clients(url, state_dir, os.environ)
        ]
    except ListenerClientError as error:
        exit_with_error(f"Error: {error}.")
    histories = [history for history in results if history is not None]
    if not histories:
        exit_with_error(
            f"Error: there is no message {escape_control_characters(number)}: "
            "`thingspace messages --json` shows their ids."
        )
    for journey in histories:
        if as_json:
            click.echo(json.dumps(journey, ensure_ascii=False))
        else:
            _print_history(journey)


@click.command()
@listener_options
@click.option("--json", "as_json", is_flag=True, help='Print {"deadLetters": […]}.')
def dead_letters(url: str | None, state_dir: Path, as_json: bool) -> None:
    """Texts that a sink did not take and that were given up, oldest first."""
    try:
        clients = listener_client.select_clients(url, state_dir, os.environ)
        letters = [letter for client in clients for letter in client.fetch_dead_letters()]
    except ListenerClientError as error:
        exit_with_error(f"Error: {error}.")
    if as_json:
        click.echo(json.dumps({"deadLetters": letters}, ensure_ascii=False))
    elif letters:
        print_table([DEAD_LETTER_HEADINGS, *map(_format_row, letters)], [0] * (len(DEAD_LETTER_HEADINGS) - 1))
        click.echo("Have them delivered anew with `thingspace messages retry ID` or `retry --all`.")
    else:
        click.echo("There are no dead letters.")


def dead_letter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which dead letters."""
    command = click.option("--json", "as_json", is_flag=True, help="Print how many as a JSON object.")(command)
    command = click.option("--sink", help="Only for this sink.")(listener_options(command))
    command = click.option("--all", "everything", is_flag=True, help="All dead letters.")(command)
    return click.argument("number", metavar="[ID]", required=False)(command)


@click.command()
@dead_letter_options
def retry(**options: Any) -> None:
    """Have a dead letter delivered anew, or all of them."""
    _change_dead_letters("retry", "to be delivered anew", **options)


@click.command()
@dead_letter_options
def discard(**options: Any) -> None:
    """Give a dead letter up for good, or all; with --sink, of one that no listener names, also what waits."""
    _change_dead_letters("discard", "given up for good", **options)


def _change_dead_letters(
    verb: str,
    meaning: str,
    *,
    number: str | None,
    everything: bool,
    sink: str | None,
    url: str | None,
    state_dir: Path,
    as_json: bool,
) -> None:
    if (number is None) != everything:
        raise click.UsageError("Give either an ID or --all.")
    try:
        count = sum(
            client.change_dead_letters(verb, number, sink)
            for client in listener_client.select_clients(url, state_dir, os.environ)
        )
    except ListenerClientError as error:
        exit_with_error(f"Error: {error}.")
    if not count and not everything:
        exit_with_error(
            f"Error: message {escape_control_characters(str(number))} is no dead letter: "
            "`thingspace messages dead` shows those."
        )
    click.echo(json.dumps({listener_client.RESULT_KEYS[verb]: count}) if as_json else f"{count} {meaning}")


def _print_history(history: dict[str, Any]) -> None:
    devices = ", ".join(f"{device['kind']} {device['id']}" for device in history["devices"]) or "-"
    for name, value in (
        ("received", history["receivedAt"]),
        ("stored", history["storedAt"] or "-"),
        ("account", history["account"]),
        ("device", devices),
        ("repeats", history["duplicateOf"]),
        (history["kind"], history["text"] if history["text"] is not None else history["body"]),
    ):
        if value is not None:
            click.echo(f"{name:<12}{escape_control_characters(str(value))}")
    rows = [
        (
            delivery["sink"],
            delivery["state"],
            str(delivery["attempts"]),
            escape_control_characters(delivery["reason"] or "-"),
        )
        for delivery in history["deliveries"]
    ]
    if rows:
        print_table([DELIVERY_HEADINGS, *rows], [12, 9, 8])
    else:
        click.echo("It is for no sink: none was named when it was stored.")


def _format_row(letter: dict[str, Any]) -> tuple[str, ...]:
    message = letter["message"]
    text = message["text"] if message["text"] is not None else f"({message['kind']})"
    reason = escape_control_characters(letter["reason"] or "-")
    return (
        message["id"],
        letter["sink"],
        letter["givenUpAt"] or "-",
        str(letter["attempts"]),
        reason,
        escape_control_characters(text),
    )
