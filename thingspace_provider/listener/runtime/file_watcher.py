"""File watcher: reports that settings or secrets in files have changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection
from pathlib import Path

from watchfiles import Change, awatch

logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs each change
CHECK_INTERVAL_SECONDS = 5.0  # for file systems that report no changes, such as NFS


class FileWatcher:
    """Compares the content of files with the content when the watcher was made.

    It watches the directories, because Kubernetes replaces a symbolic link beside the files.

    Args:
        paths: the files; one that is missing may appear later.
        check_interval_seconds: between two comparisons without an event.
    """

    def __init__(self, paths: Collection[Path], check_interval_seconds: float = CHECK_INTERVAL_SECONDS) -> None:
        self._paths = {path.absolute() for path in paths}
        self._check_interval_seconds = check_interval_seconds
        self._digest = self._compute_digest()

    async def run(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` after each change, until the task is cancelled."""
        directories = {path.parent for path in self._paths if path.parent.is_dir()}
        if not directories:
            return
        events = awatch(
            *directories,
            watch_filter=self._is_relevant,
            rust_timeout=int(self._check_interval_seconds * 1000),
            yield_on_timeout=True,
            recursive=False,
        )
        async for _ in events:
            digest = self._compute_digest()
            if digest != self._digest:
                self._digest = digest
                on_change()

    def _is_relevant(self, _: Change, path: str) -> bool:
        """Return whether a change concerns a file or a link of Kubernetes. A store can be in the same directory."""
        return Path(path) in self._paths or Path(path).name.startswith("..")

    def _compute_digest(self) -> list[bytes]:
        return [_digest_file(path) for path in sorted(self._paths)]


def _digest_file(path: Path) -> bytes:
    """Return a digest of a regular file. The content of a pipe can be read only once, by the settings."""
    try:
        return hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
    except OSError:
        return b""
