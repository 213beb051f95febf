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
    files = _find_files(paths or (PATH.convert("stacks", None, click.get_current_context()),))
    try:
        findings = stack_linter.lint_files(files)
    except OSError as error:
        raise click.UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
    if as_json:
        document = {"files": list(map(str, files)), "findings": [finding.as_json() for finding in findings]}
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo(
            f"{_format_count(len(files), 'stack file')}: {_format_count(len(findings), 'finding') if findings else 'nothing found'}"  # noqa: E501
        )
    raise SystemExit(1 if findings else 0)


def _find_files(paths: tuple[Path, ...]) -> list[Path]:
    """The stack files meant, each once."""
    files: dict[Path, Path] = {}
    for path in paths:
        candidates = sorted([*path.glob("Pulumi.*.yaml"), *path.glob("Pulumi.*.yml")]) if path.is_dir() else [path]
        if not candidates:
            raise click.UsageError(f"there is no Pulumi.<stack>.yaml in {path}")
        for file in candidates:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
