"""Opens a SQLite file so that a commit survives a power cut, and refuses to go on when it would not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import apsw

from thingspace_provider.common.file_lock import FileLock
from thingspace_provider.listener.store.base import StoreError, StoreOpenError
from thingspace_provider.listener.store.sqlite.schema import migrate

MIN_SQLITE_VERSION = 3051003  # SQLite 3.51.3: before it, a WAL reset while another connection reads could lose commits
SYNCHRONOUS_FULL = 2
BUSY_TIMEOUT_MILLISECONDS = 1000
MAX_WAL_BYTES = 32 * 2**20  # what the file keeps; a long read lets it grow, and the next cycle of the log truncates it


def lock_store(path: Path) -> FileLock:
    """Hold the lock file beside the store, so that no second listener opens it. Raises StoreUnusable."""
    try:
        file_lock = FileLock(path.with_name(f"{path.name}.lock"))
    except FileNotFoundError as error:
        # A directory that the listener creates could be on the disk below a mount point whose file system is missing.
        raise StoreOpenError(
            f"{path} cannot be used as a store: the directory {path.parent} does not exist: mount or create it"
        ) from error
    except OSError as error:
        raise StoreOpenError(f"{path} cannot be used as a store: {error.strerror}") from error
    if not file_lock.acquire():
        file_lock.release()
        raise StoreOpenError(
            f"{path} is the store of another listener that is running: stop that one or give another store"
        )
    return file_lock


def open_writer(path: Path) -> apsw.Connection:
    """A connection that writes. Raises StoreUnusable or apsw.Error."""
    if apsw.SQLITE_VERSION_NUMBER < MIN_SQLITE_VERSION:
        raise StoreOpenError(f"SQLite {apsw.sqlite_lib_version()} can lose commits: install apsw 3.51.3 or newer")
    try:
        _open_private(path).close()
    except OSError as error:
        raise StoreOpenError(error.strerror) from error
    connection = _connect(path, "FULL")
    # Asked back, because SQLite goes on without a word where a file system cannot do it.
    if connection.pragma("journal_mode") != "wal" or connection.pragma("synchronous") != SYNCHRONOUS_FULL:
        raise StoreOpenError("its file system cannot keep SQLite's write-ahead log: use a local disk")
    migrate(connection)
    _sync_directory(path.parent)
    connection.set_commit_hook(_build_commit_hook(path))
    return connection


def open_background_writer(path: Path) -> apsw.Connection:
    """A second connection that writes, for what may be done again: its commits are synced only with later ones."""
    return _connect(path, "NORMAL")


def _build_commit_hook(path: Path) -> Callable[[], bool]:
    """Return a function that raises StoreError if the path does not name the open files any more.

    SQLite writes on into removed files, which end with the process.
    """
    opened = _identify_files(path)

    def is_rolled_back() -> bool:
        try:
            current = _identify_files(path)
        except OSError:
            current = []
        if current != opened:
            raise StoreError(f"{path} was removed or replaced while the listener runs: move it back, or restart")
        return False

    return is_rolled_back


def _identify_files(path: Path) -> list[tuple[int, int]]:
    statuses = [os.stat(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]  # noqa: PTH116  in every commit
    return [(status.st_dev, status.st_ino) for status in statuses]


def open_reader(path: Path) -> apsw.Connection:
    """Open a connection that reads the store of a listener. Raises apsw.Error."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MILLISECONDS)
    connection.execute("PRAGMA query_only = ON")
    return connection


def open_unserved_reader(path: Path) -> apsw.Connection:
    """Open a connection that reads a store without a listener, and changes and creates no file. Raises apsw.Error."""
    has_wal = path.with_name(f"{path.name}-wal").exists()
    parameter = "readonly_shm" if has_wal else "immutable"  # a store without them would get these files again
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"{path.absolute().as_uri()}?{parameter}=1", flags=flags)


def _connect(path: Path, synchronous: str) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MILLISECONDS)
    for pragma in (
        "journal_mode = WAL",
        f"journal_size_limit = {MAX_WAL_BYTES}",
        f"synchronous = {synchronous}",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _open_private(path: Path) -> IO[str]:
    """A file that only this user can read; not handed on to child processes."""
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8")  # noqa: PTH123  the mode must be there from the first moment


def _sync_directory(directory: Path) -> None:
    """The file's name must survive a power cut, too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
