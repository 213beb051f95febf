"""A file that is locked as long as the process lives: who finds it locked knows that it runs, and as which process."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path

LOCK_TIMEOUT_SECONDS = 1.0  # others ask by trying the lock for a moment, which is no reason to give up
LOCK_RETRY_SECONDS = 0.02


class AlreadyRunning(Exception):
    """Another process holds the lock."""


class PidFile:
    """Takes the lock at once. Raises Running, or OSError when the file cannot be made."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(LOCK_RETRY_SECONDS)
                    continue
                os.close(self._descriptor)
                raise AlreadyRunning from None
            os.ftruncate(self._descriptor, 0)
            return

    def write(self, url: str) -> None:
        """Say who this is and where, in one write; until then the file is empty."""
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    def close(self) -> None:
        """Empty the file and let the lock go. The file stays: removing it could remove another's."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
