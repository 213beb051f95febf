"""Builds actionlint from its pinned Go module once for each user, and prints its path."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tools import go_build

HERE = Path(__file__).resolve().parent


def find_actionlint() -> Path:
    """Return the path of the program. Raises BuildFailed if it cannot be built."""
    match = re.search(r"rhysd/actionlint (v\S+)", (HERE / "go.mod").read_text())
    if match is None:
        raise go_build.BuildFailed(f"{HERE / 'go.mod'} does not pin actionlint")

    def build(root: Path) -> None:
        go_build.compile_package(HERE, "github.com/rhysd/actionlint/cmd/actionlint", root / "bin" / "actionlint")

    root = go_build.cache_directory("actionlint") / match.group(1)
    return go_build.cache_or_create(root, "actionlint", build) / "actionlint"


if __name__ == "__main__":
    try:
        print(find_actionlint())
    except go_build.BuildFailed as error:
        sys.exit(f"Error: {error}")
