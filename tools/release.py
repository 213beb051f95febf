"""Prepares a release: sets the version, and gives the changelog's section "Unreleased" its number and date.

    python tools/release.py 0.2.0
    python tools/release.py --notes v0.2.0

The first changes pyproject.toml and CHANGELOG.md; review and commit them, then tag the commit with v and the version.
The second prints the changelog's section of a tag, which must have the version of pyproject.toml.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
UNRELEASED = "## Unreleased\n"
VERSION = re.compile(r'^version = "(.*)"$', re.MULTILINE)


class ReleaseError(Exception):
    """The release cannot be prepared. The message says why."""


def prepare(top: Path, version: str, date: dt.date) -> None:
    """Change both files. Raises ReleaseError before a change."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version} is not a version such as 0.2.0")
    project, changelog = top / "pyproject.toml", top / "CHANGELOG.md"
    settings, changes = project.read_text(encoding="utf-8"), changelog.read_text(encoding="utf-8")
    before, _, after = changes.partition(UNRELEASED)
    entries = after.partition("\n## ")[0]
    if not entries.strip():
        raise ReleaseError("CHANGELOG.md has no changes under Unreleased")
    if f"\n## {version} " in changes:
        raise ReleaseError(f"CHANGELOG.md already has {version}")
    project.write_text(VERSION.sub(f'version = "{version}"', settings, count=1), encoding="utf-8")
    changelog.write_text(f"{before}{UNRELEASED}\n## {version} - {date}\n{after}", encoding="utf-8")


def read_notes(top: Path, tag: str) -> str:
    """Return the changelog's section of a tag. Raises ReleaseError if the tag is not this version."""
    version = VERSION.search((top / "pyproject.toml").read_text(encoding="utf-8"))
    if version is None or tag != f"v{version.group(1)}":
        raise ReleaseError(f"the tag {tag} is not the version in pyproject.toml")
    _, found, after = (top / "CHANGELOG.md").read_text(encoding="utf-8").partition(f"\n## {tag[1:]} ")
    if not found:
        raise ReleaseError(f"CHANGELOG.md has no section {tag[1:]}")
    return after.partition("\n## ")[0].partition("\n")[2].strip()


def main() -> int:
    """Prepare a release, or print the notes of one."""
    arguments = sys.argv[1:]
    try:
        match arguments:
            case ["--notes", tag]:
                print(read_notes(TOP, tag))
            case [version]:
                prepare(TOP, version, dt.datetime.now(dt.timezone.utc).date())
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except ReleaseError as error:
        print(f"Error: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
