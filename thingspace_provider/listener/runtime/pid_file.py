"""Pid file: locked as long as the process runs, with its pid and its URL."""

from __future__ import annotations

import json
import os
from pathlib import Path

from thingspace_provider.common.file_lock import FileLock

LOCK_TIMEOUT_SECONDS = 1.0  # a check by another process holds the lock for a moment


class AlreadyRunning(Exception):
    """Another process holds the lock."""


class PidFile:
    """Locks the file and empties it. Raises AlreadyRunning, or OSError if the file cannot be created."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FileLock(path)
        if not self._lock.acquire(LOCK_TIMEOUT_SECONDS):
            self._lock.release()
            raise AlreadyRunning
        os.ftruncate(self._lock.descriptor, 0)

    def write(self, url: str) -> None:
        """Write pid and URL in one call. Until then the file is empty."""
        os.pwrite(self._lock.descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def close(self) -> None:
        """Empty the file and release the lock."""
        os.ftruncate(self._lock.descriptor, 0)
        self._lock.release()
