"""Transactions on the SQLite file, one at a time, and the copying of its write-ahead log."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import apsw

from thingspace_provider.listener.store.base import StoreError

PAGES_IN_WAL = 4000  # of 4 kB, after which the WAL is copied into the database
WRITE_LOCK_TIMEOUT_SECONDS = 1.0


class Writer:
    """A connection that writes. `turn` is shared by all that write to one file: SQLite would let them sleep and try."""

    def __init__(self, connection: apsw.Connection, turn: threading.Lock) -> None:
        self._connection = connection
        self._write_lock = turn
        self._using = threading.RLock()
        self._pages = 0
        connection.set_wal_hook(self._note_pages)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """All or nothing of what is done inside. Raises StoreFailed."""
        with self._using, self._hold_write_lock():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as reason:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(reason, apsw.Error):
                    raise StoreError(str(reason)) from reason
                raise

    def tidy(self) -> None:
        """Copy a long WAL into the database, without waiting for readers and out of turn."""
        with self._using:
            if self._pages > PAGES_IN_WAL:
                self._pages = 0
                with contextlib.suppress(apsw.Error):  # what ails the store shows at the next commit
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def close(self) -> None:
        """Close the connection."""
        with self._using:
            self._connection.close()

    @contextlib.contextmanager
    def _hold_write_lock(self) -> Iterator[None]:
        if not self._write_lock.acquire(timeout=WRITE_LOCK_TIMEOUT_SECONDS):
            raise StoreError("another transaction of this process takes too long")
        try:
            yield
        finally:
            self._write_lock.release()

    def _note_pages(self, connection: apsw.Connection, database: str, pages: int) -> int:
        del connection, database
        self._pages = pages
        return apsw.SQLITE_OK
