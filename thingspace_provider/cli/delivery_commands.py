"""`thingspace messages show`, `dead`, `retry` and `discard`: what became of stored texts on their way to the sinks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from thingspace_provider.cli import listener_client
from thingspace_provider.cli.listener_client import Unread
from thingspace_provider.cli.output import end, table, visible, which_inboxes

DELIVERY = ("SINK", "STATE", "ATTEMPTS", "REASON")
DEAD = ("ID", "SINK", "GIVEN UP", "ATTEMPTS", "REASON", "TEXT")


@click.command()
@click.argument("number", metavar="ID")
@which_inboxes
@click.option("--json", "as_json", is_flag=True, help="Print the message as one JSON object.")
def show(number: str, url: str | None, state_dir: Path, as_json: bool) -> None:
    """One message: when it came and was stored, and how far it is with each sink."""
    try:
        found = [inbox.journey(number) for inbox in listener_client.chosen(url, state_dir, os.environ)]
    except Unread as reason:
        end(f"Error: {reason}.")
    journeys = [journey for journey in found if journey is not None]
    if not journeys:
        end(f"Error: there is no message {visible(number)}: `thingspace messages --json` shows their ids.")
    for journey in journeys:
        if as_json:
            click.echo(json.dumps(journey, ensure_ascii=False))
        else:
            _tell(journey)


@click.command()
@which_inboxes
@click.option("--json", "as_json", is_flag=True, help='Print {"deadLetters": […]}.')
def dead(url: str | None, state_dir: Path, as_json: bool) -> None:
    """Texts that a sink did not take and that were given up, oldest first."""
    try:
        sources = listener_client.chosen(url, state_dir, os.environ)
        found = [letter for inbox in sources for letter in inbox.dead_letters()]
    except Unread as reason:
        end(f"Error: {reason}.")
    if as_json:
        click.echo(json.dumps({"deadLetters": found}, ensure_ascii=False))
    elif found:
        table([DEAD, *map(_row, found)], [0] * (len(DEAD) - 1))
        click.echo("Have them delivered anew with `thingspace messages retry ID` or `retry --all`.")
    else:
        click.echo("There are no dead letters.")


def which_letters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which dead letters."""
    command = click.option("--json", "as_json", is_flag=True, help="Print how many as a JSON object.")(command)
    command = click.option("--sink", help="Only for this sink.")(which_inboxes(command))
    command = click.option("--all", "everything", is_flag=True, help="All dead letters.")(command)
    return click.argument("number", metavar="[ID]", required=False)(command)


@click.command()
@which_letters
def retry(**given: Any) -> None:
    """Have a dead letter delivered anew, or all of them."""
    _settle("retry", "to be delivered anew", **given)


@click.command()
@which_letters
def discard(**given: Any) -> None:
    """Give a dead letter up for good, or all; with --sink, of one that no listener names, also what waits."""
    _settle("discard", "given up for good", **given)


def _settle(
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
        count = sum(inbox.settle(verb, number, sink) for inbox in listener_client.chosen(url, state_dir, os.environ))
    except Unread as reason:
        end(f"Error: {reason}.")
    if not count and not everything:
        end(f"Error: message {visible(str(number))} is no dead letter: `thingspace messages dead` shows those.")
    click.echo(json.dumps({listener_client.SETTLED[verb]: count}) if as_json else f"{count} {meaning}")


def _tell(journey: dict[str, Any]) -> None:
    devices = ", ".join(f"{device['kind']} {device['id']}" for device in journey["devices"]) or "-"
    for name, value in (
        ("received", journey["receivedAt"]),
        ("stored", journey["storedAt"] or "-"),
        ("account", journey["account"]),
        ("device", devices),
        ("repeats", journey["duplicateOf"]),
        (journey["kind"], journey["text"] if journey["text"] is not None else journey["body"]),
    ):
        if value is not None:
            click.echo(f"{name:<12}{visible(str(value))}")
    rows = [
        (each["sink"], each["state"], str(each["attempts"]), visible(each["reason"] or "-"))
        for each in journey["deliveries"]
    ]
    if rows:
        table([DELIVERY, *rows], [12, 9, 8])
    else:
        click.echo("It is for no sink: none was named when it was stored.")


def _row(letter: dict[str, Any]) -> tuple[str, ...]:
    message = letter["message"]
    text = message["text"] if message["text"] is not None else f"({message['kind']})"
    reason = visible(letter["reason"] or "-")
    return (message["id"], letter["sink"], letter["givenUpAt"] or "-", str(letter["attempts"]), reason, visible(text))
