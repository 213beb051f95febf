"""`thingspace lint`: checks stack files without the Pulumi CLI, a passphrase or a network."""

from __future__ import annotations

from pathlib import Path

import click

from thingspace_provider.cli.output import print_json, print_line
from thingspace_provider.config import stack_linter
from thingspace_provider.config.stack_schema import NOT_CHECKED, stack_directory

EXAMPLE = """
\b
Examples:
  thingspace lint
  thingspace lint stacks/Pulumi.prod.yaml --json

A stack counts as production if its name contains prod, production or live, or if thingspace:baseUrl is the real
ThingSpace or not set.
"""
PATH = click.Path(path_type=Path, exists=True)


@click.command(epilog=EXAMPLE)
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@click.option("--json", "as_json", is_flag=True, help='Print {"files": […], "findings": […], "skipped": […]}.')
def command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check stack files. PATHs are files or folders.

    Without PATH, the command checks the folder that stackConfigDir in Pulumi.yaml names. Exits with 1 on findings.
    """
    if not paths and not Path("Pulumi.yaml").is_file():
        raise click.UsageError("there is no Pulumi.yaml in this folder. Name the stack files or their folder")
    files = _find_files(paths or (stack_directory(),))
    try:
        findings, unchecked = stack_linter.lint_files(files)
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from None
    if as_json:
        skipped = [{"file": str(file), "reason": NOT_CHECKED} for file in unchecked]
        found = [finding.as_json() for finding in findings]
        print_json({"files": list(map(str, files)), "findings": found, "skipped": skipped})
    else:
        for finding in findings:
            print_line(f"{finding.location}: {finding.message}")
            print_line(f"    fix: {finding.fix}")
        for file in unchecked:
            print_line(f"{file}: {NOT_CHECKED}")
        result = _format_count(len(findings), "finding") if findings else "no findings"
        print_line(f"{_format_count(len(files), 'stack file')}: {result}")
    raise SystemExit(1 if findings else 0)


def _find_files(paths: tuple[Path, ...]) -> list[Path]:
    """Return the stack files, each once."""
    files: dict[Path, Path] = {}
    for path in paths:
        candidates = sorted([*path.glob("Pulumi.*.yaml"), *path.glob("Pulumi.*.yml")]) if path.is_dir() else [path]
        if not candidates:
            raise click.UsageError(f"no Pulumi.<stack>.yaml in {path}")
        for file in candidates:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
