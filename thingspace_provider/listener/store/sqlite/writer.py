"""Transactions on the SQLite file, one at a time, and the copying of its write-ahead log."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import apsw

from thingspace_provider.listener.store.base import StoreError

MAX_WAL_PAGES = 4000  # of 4 kB, after which the WAL is copied into the database
WRITE_LOCK_TIMEOUT_SECONDS = 1.0


class Writer:
    """A connection that writes. `turn` is shared by all that write to one file: SQLite would let them sleep and try."""

    def __init__(self, connection: apsw.Connection, write_lock: threading.Lock) -> None:
        self._connection = connection
        self._write_lock = write_lock
        self._connection_lock = threading.RLock()
        self._wal_pages = 0
        connection.set_wal_hook(self._record_wal_pages)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """All or nothing of what is done inside. Raises StoreFailed."""
        with self._connection_lock, self._hold_write_lock():
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

    def checkpoint(self) -> None:
        """Copy a long WAL into the database, without waiting for readers and out of turn."""
        with self._connection_lock:
            if self._wal_pages > MAX_WAL_PAGES:
                self._wal_pages = 0
                with contextlib.suppress(apsw.Error):  # what ails the store shows at the next commit
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        """Close the connection."""
        with self._connection_lock:
            self._connection.close()

    @contextlib.contextmanager
    def _hold_write_lock(self) -> Iterator[None]:
        if not self._write_lock.acquire(timeout=WRITE_LOCK_TIMEOUT_SECONDS):
            raise StoreError("another transaction of this process takes too long")
        try:
            yield
        finally:
            self._write_lock.release()

    def _record_wal_pages(self, connection: apsw.Connection, database: str, pages: int) -> int:
        del connection, database
        self._wal_pages = pages
        return apsw.SQLITE_OK
