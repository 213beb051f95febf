"""`thingspace lint`: mistakes in stack files, found before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from thingspace_provider.config import stack_linter

EXAMPLE = """
\b
Examples:
  thingspace lint
  thingspace lint stacks/Pulumi.prod.yaml --json

A stack is taken for production when its name holds prod, production or live, or when thingspace:baseUrl is the real
ThingSpace or not set.
"""
PATH = click.Path(path_type=Path, exists=True)


@click.command(epilog=EXAMPLE)
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@click.option("--json", "as_json", is_flag=True, help='Print {"files": […], "findings": […]}.')
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Find mistakes in stack files: PATHs are files or folders, stacks/ when none is given.

    Needs no engine, no passphrase and no network. Exits 1 when something was found.
    """
    files = _files(paths or (PATH.convert("stacks", None, click.get_current_context()),))
    try:
        found = stack_linter.findings(files)
    except OSError as reason:
        raise click.UsageError(f"{reason.filename} cannot be read: {reason.strerror}") from None
    if as_json:
        document = {"files": list(map(str, files)), "findings": [finding.as_json() for finding in found]}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        for finding in found:
            click.echo(str(finding))
        click.echo(f"{_count(len(files), 'stack file')}: {_count(len(found), 'finding') if found else 'nothing found'}")
    raise SystemExit(1 if found else 0)


def _files(paths: tuple[Path, ...]) -> list[Path]:
    """The stack files meant, each once."""
    files: dict[Path, Path] = {}
    for path in paths:
        inside = sorted([*path.glob("Pulumi.*.yaml"), *path.glob("Pulumi.*.yml")]) if path.is_dir() else [path]
        if not inside:
            raise click.UsageError(f"there is no Pulumi.<stack>.yaml in {path}")
        for file in inside:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
