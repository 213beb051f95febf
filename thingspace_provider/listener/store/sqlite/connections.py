"""Connections to a SQLite file, on which a commit survives a power cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import apsw

from thingspace_provider.common.file_lock import FileLock
from thingspace_provider.listener.store.base import StoreError, StoreOpenError
from thingspace_provider.listener.store.sqlite.schema import migrate

MIN_SQLITE_VERSION = 3051003  # 3.51.3: earlier ones can lose commits if the WAL is reset while a connection reads
SYNCHRONOUS_FULL = 2
BUSY_TIMEOUT_MILLISECONDS = 1000
MAX_WAL_BYTES = 32 * 2**20  # after a long read, during which the log grows, its next cycle truncates the file to this


def lock_store(path: Path) -> FileLock:
    """Lock the file beside the store against a second listener. Raises StoreOpenError."""
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
        raise StoreOpenError(f"{path} is the store of a running listener: stop that listener or use another store")
    return file_lock


def open_writer(path: Path) -> apsw.Connection:
    """Open or create the store for durable commits. Raises StoreOpenError or apsw.Error."""
    if apsw.SQLITE_VERSION_NUMBER < MIN_SQLITE_VERSION:
        raise StoreOpenError(f"SQLite {apsw.sqlite_lib_version()} can lose commits: install apsw 3.51.3 or newer")
    try:
        _open_private(path).close()
    except OSError as error:
        raise StoreOpenError(error.strerror) from error
    connection = _connect(path, "FULL")
    # Read back, because SQLite reports no error on a file system that does not support them.
    if connection.pragma("journal_mode") != "wal" or connection.pragma("synchronous") != SYNCHRONOUS_FULL:
        raise StoreOpenError("its file system does not support SQLite's write-ahead log: use a local disk")
    migrate(connection)
    _sync_directory(path.parent)
    connection.set_commit_hook(_build_commit_hook(path))
    return connection


def open_background_writer(path: Path) -> apsw.Connection:
    """Open a connection for repeatable writes, whose commits are synced only with later ones."""
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
    """Open or create a file that only this user can read and no child process inherits."""
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8")  # noqa: PTH123  the mode must be set at creation


def _sync_directory(directory: Path) -> None:
    """Make the name of a new file survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
