"""PID file: holds the process id as a number, and a lock for as long as the process lives."""

from __future__ import annotations

import os
from pathlib import Path

from thingspace_provider.common.file_lock import FileLock

LOCK_TIMEOUT_SECONDS = 1.0  # a check by another process holds the lock for a moment


class AlreadyRunning(Exception):
    """Another process holds the lock."""


class PidFile:
    """Locks the file and empties it. Raises AlreadyRunning, or OSError if the file cannot be created."""

    def __init__(self, path: Path, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = FileLock(path)
        if not self._lock.acquire(lock_timeout_seconds):
            self._lock.release()
            raise AlreadyRunning
        os.ftruncate(self._lock.descriptor, 0)

    def write(self) -> None:
        """Write the process id in one call. An empty file means that the process is not ready."""
        os.pwrite(self._lock.descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Empty the file and release the lock."""
        os.ftruncate(self._lock.descriptor, 0)
        self._lock.release()
