"""Advisory lock on a file, which the operating system releases when its process ends."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    HAS_FILE_LOCKS = False
else:
    HAS_FILE_LOCKS = True

POLL_SECONDS = 0.05
CLOSED = -1  # instead of a descriptor


class FileLock:
    """Exclusive lock on a file that only this user can read. Child processes do not inherit it.

    The file stays when the lock is released. Removing it would let two processes hold a lock on two files of the same
    name: one on the removed file, one on a new file.

    On Windows the file is opened, and nothing is locked.

    Args:
        path: the lock file; created with mode 0600 when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def acquire(self, timeout_seconds: float = 0.0, poll_seconds: float = POLL_SECONDS) -> bool:
        """Return whether the lock was acquired before the timeout. After False, `release` closes the file."""
        deadline = time.monotonic() + timeout_seconds
        while not self._try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(poll_seconds)
        return True

    def release(self) -> None:
        """Release the lock and close the file. A second call does nothing."""
        descriptor, self.descriptor = self.descriptor, CLOSED
        if descriptor != CLOSED:
            os.close(descriptor)

    def _try_acquire(self) -> bool:
        if not HAS_FILE_LOCKS:
            return True
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_locked(path: Path) -> bool:
    """Return whether a process holds the `FileLock` of a file. A missing file is not locked.

    The check holds a shared lock for a moment, so an `acquire` at the same time can fail: give it a timeout.
    """
    if not HAS_FILE_LOCKS:
        return False
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
