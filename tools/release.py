"""Prepares a release: sets the version, and gives the changelog's section "Unreleased" its number and date.

    python tools/release.py 0.2.0

It changes pyproject.toml and CHANGELOG.md; review and commit them, then tag the commit with v and the version.
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


def main() -> int:
    """Prepare the release that the argument names."""
    if len(sys.argv) != 2:  # noqa: PLR2004  the command and the version
        print(__doc__, file=sys.stderr)
        return 2
    try:
        prepare(TOP, sys.argv[1], dt.datetime.now(dt.timezone.utc).date())
    except ReleaseError as error:
        print(f"Error: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
