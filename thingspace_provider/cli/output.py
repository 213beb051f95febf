"""What the commands about stored texts share: which inboxes, tables, and nothing that steers a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

ESCAPED_CATEGORIES = (
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Zl",
    "Zp",
)  # categories that could steer a terminal or hide a text's order


def listener_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say whose texts."""
    url = click.option("--url", help="A listener elsewhere; its apiToken is in THINGSPACE_LISTENER_API_TOKEN.")
    state_dir = click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        envvar="THINGSPACE_STATE_DIR",
        show_envvar=True,
        default=".thingspace",
        show_default=True,
        help="Where `pulumi up` keeps local listeners.",
    )
    return url(state_dir(command))


def escape_control_characters(text: str) -> str:
    """A text without anything that a terminal would obey: control characters are written as escapes."""
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in ESCAPED_CATEGORIES else character
        for character in text
    )


def print_table(rows: Iterable[tuple[str, ...]], min_widths: Sequence[int]) -> None:
    """Print rows of one length; each column but the last has at least the width given."""
    rows = list(rows)
    widths = [max([width, *(len(row[column]) for row in rows)]) for column, width in enumerate(min_widths)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))


def exit_with_error(message: str) -> NoReturn:
    """Say why it failed, and end with 1."""
    click.echo(message, err=True)
    raise SystemExit(1)
