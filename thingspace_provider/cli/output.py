"""Output of the commands: lines, tables, JSON and errors, and the options that several commands share.

Every command prints through this module. It escapes characters that could steer a terminal or hide text, because a
device, a listener or another server may have chosen them.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import click

# Unicode categories of control, format, surrogate and private characters, and of line and paragraph separators.
ESCAPED_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def listener_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url` and `--state-dir`, which select the listeners that a command reads."""
    url = click.option("--url", help="URL of a remote listener. Its API token: THINGSPACE_LISTENER_API_TOKEN.")
    state_dir = click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        envvar="THINGSPACE_STATE_DIR",
        show_envvar=True,
        default=".thingspace",
        show_default=True,
        help="Folder in which `pulumi up` keeps local listeners.",
    )
    return url(state_dir(command))


class StorePath(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has no type parameters
    """SQLite store: a path, or `sqlite:///` and a path."""

    name = "store"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        text = str(value)
        if "://" in text and not text.startswith("sqlite:///"):
            self.fail("only a SQLite store can be read: give its path. For PostgreSQL, start a listener", param, ctx)
        return Path(text.removeprefix("sqlite:///"))


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--store`, which selects a store instead of a listener."""
    text = "Read this SQLite store (sqlite:///PATH or PATH) without a listener. Changes nothing."
    return click.option("--store", type=StorePath(), metavar="STORE", help=text)(command)


def escape_control_characters(text: str) -> str:
    r"""Return the text with control characters written as escapes such as `\x1b`."""
    return "".join(ascii(character)[1:-1] if _is_escaped(character) else character for character in text)


def print_line(text: str, *, status: str = "", color: str | None = None, to_stderr: bool = False) -> None:
    """Print one line, with an optional coloured status in front."""
    click.echo(click.style(status, fg=color) + escape_control_characters(text), err=to_stderr)


def print_note(text: str) -> None:
    """Print a note to standard error, so that standard output stays data."""
    print_line(f"Note: {text}", to_stderr=True)


def print_json(document: Any) -> None:
    r"""Print one JSON document on one line. Control characters are `\u` escapes, which any JSON parser reads back."""
    text = json.dumps(document, ensure_ascii=False)
    click.echo("".join(json.dumps(character)[1:-1] if _is_escaped(character) else character for character in text))


def print_table(rows: Iterable[tuple[str, ...]], min_widths: Sequence[int]) -> None:
    """Print rows of equal length. Each column except the last is at least as wide as given."""
    escaped = [tuple(map(escape_control_characters, row)) for row in rows]
    widths = [max([width, *(len(row[column]) for row in escaped)]) for column, width in enumerate(min_widths)]
    for row in escaped:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[-1]]))


def format_time(timestamp: str, timespec: str = "seconds") -> str:
    """Format an ISO 8601 time in local time with its zone, as the web pages do: `2026-03-01 09:15:30+01:00`.

    Another text, which only a foreign server sends, is returned as it is.
    """
    try:
        moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone()
    except ValueError:
        return timestamp
    return moment.isoformat(" ", timespec).replace("+00:00", "Z")


def exit_with_error(error: Exception | str) -> NoReturn:
    """Print the error to standard error and exit with status 1."""
    print_line(f"Error: {error}.", to_stderr=True)
    raise SystemExit(1)


def _is_escaped(character: str) -> bool:
    return unicodedata.category(character) in ESCAPED_CATEGORIES
