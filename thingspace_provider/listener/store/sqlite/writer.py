"""Transactions on a SQLite file, one at a time, and checkpoints of its write-ahead log."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import apsw

from thingspace_provider.listener.store.base import StoreError

MAX_WAL_PAGES = 4000  # of 4 kB
WRITE_LOCK_TIMEOUT_SECONDS = 1.0


class Writer:
    """Connection for transactions.

    Args:
        write_lock: shared by all writers of the file, because SQLite itself lets them poll.
        write_lock_timeout_seconds: after which a transaction fails that waits for another one.
        max_wal_pages: size of the WAL from which `checkpoint` copies it into the database.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        write_lock: threading.Lock,
        write_lock_timeout_seconds: float,
        max_wal_pages: int,
    ) -> None:
        self._connection = connection
        self._write_lock = write_lock
        self._write_lock_timeout_seconds = write_lock_timeout_seconds
        self._max_wal_pages = max_wal_pages
        self._connection_lock = threading.RLock()
        self._wal_pages = 0
        connection.set_wal_hook(self._record_wal_pages)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """Commit the statements of a block, or none. Raises StoreError."""
        with self._connection_lock:
            if not self._write_lock.acquire(timeout=self._write_lock_timeout_seconds):
                raise StoreError("another transaction of this process takes too long")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, apsw.Error):
                    raise StoreError(str(error)) from error
                raise
            finally:
                self._write_lock.release()

    def checkpoint(self) -> None:
        """Copy a long WAL into the database, without the write lock and without waiting for readers."""
        with self._connection_lock:
            if self._wal_pages > self._max_wal_pages:
                self._wal_pages = 0
                with contextlib.suppress(apsw.Error):  # the next commit reports a failing disk
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        """Close the connection."""
        with self._connection_lock:
            self._connection.close()

    def _record_wal_pages(self, connection: apsw.Connection, database: str, pages: int) -> int:
        del connection, database
        self._wal_pages = pages
        return apsw.SQLITE_OK
