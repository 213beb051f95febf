"""The store in one SQLite file: one connection that writes, one for each thread that reads."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from thingspace_provider.listener.callback import Device, read
from thingspace_provider.listener.duplicates import WINDOW, Window, request_key
from thingspace_provider.listener.sqlite_file import BUSY_MILLISECONDS, locked, opened
from thingspace_provider.listener.store import Arrival, Selection, Stored, StoreFailed, StoreUnusable

PAGES_IN_WAL = 4000  # of 4 kB, after which the WAL is copied into the database
RECALLED = 20_000  # newest callbacks that are looked at again after a start, as firsts of duplicates to come

# One statement for a whole batch: SQLite works through it without the interpreter, whose lock the server needs.
INSERT = """
INSERT INTO callbacks (id, account, kind, devices, text, request_id, request_key, received, duplicate_of, raw)
SELECT value->>0, value->>1, value->>2, value->>3, CAST(unhex(value->>4) AS TEXT), value->>5, value->>6,
       value->>7, value->>8, unhex(value->>9)
FROM json_each(?)
"""
KNOWN_REQUESTS = """
SELECT account, request_key, min(id) FROM callbacks
WHERE (account, request_key) IN (SELECT value->>0, value->>1 FROM json_each(?)) AND duplicate_of IS NULL
GROUP BY account, request_key
"""
COLUMNS = "id, account, kind, devices, text, request_id, received, duplicate_of, raw"


class SqliteStore:
    """Opens or creates the file, readable by this user alone. Raises StoreUnusable.

    A lock file beside it keeps a second listener away: ids and duplicates are counted here, in one process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = locked(path)
        try:
            self._writer = opened(path)
            self._next = self._last_id() + 1
        except (apsw.Error, StoreUnusable) as reason:
            self._lock.close()
            raise StoreUnusable(f"{path} cannot be used as a store: {reason}") from reason
        self._pages = 0
        self._writer.set_wal_hook(self._note_pages)
        self._threads = threading.local()
        self._readers: list[apsw.Connection] = []
        self._window: Window | None = None

    def append(self, arrivals: Sequence[Arrival]) -> None:
        """Store all or none, in one transaction with one sync."""
        try:
            rows = self._rows(arrivals)
            self._write(INSERT, (json.dumps(rows),))
        except apsw.Error as reason:
            self._window = None  # it holds ids that were not given after all
            raise StoreFailed(str(reason)) from reason
        self._next += len(arrivals)

    def prove(self) -> None:
        """Write the one row that is there for this."""
        try:
            self._write("UPDATE proof SET written = written + 1", ())
        except apsw.Error as reason:
            raise StoreFailed(str(reason)) from reason

    def tidy(self) -> None:
        """Copy a long WAL into the database; without waiting for readers."""
        if self._pages > PAGES_IN_WAL:
            self._pages = 0
            with contextlib.suppress(apsw.Error):  # what ails the store shows at the next commit
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def read(self, selection: Selection) -> list[Stored]:
        """Stored callbacks in the order of storage."""
        conditions = ["id > :after"]
        conditions += [f"{column} = :{column}" for column in ("account", "kind") if getattr(selection, column)]
        query = f"SELECT {COLUMNS} FROM callbacks WHERE {' AND '.join(conditions)} ORDER BY id"  # noqa: S608  names only
        query += " DESC LIMIT :limit" if selection.last else " LIMIT :limit"
        values = {name: getattr(selection, name) for name in ("after", "account", "kind", "limit")}
        try:
            rows = [_stored(*row) for row in self._reader().execute(query, values)]
        except apsw.Error as reason:
            raise StoreFailed(str(reason)) from reason
        return rows[::-1] if selection.last else rows

    def close(self) -> None:
        """Close every connection; the last one copies the WAL into the database."""
        for connection in (*self._readers, self._writer):
            connection.close()
        self._lock.close()

    def _rows(self, arrivals: Sequence[Arrival]) -> list[list[Any]]:
        window = self._window = self._window or self._recalled()
        keys = [request_key(arrival) for arrival in arrivals]
        firsts = self._known_requests({(a.account, key) for a, key in zip(arrivals, keys, strict=True) if key})
        rows = []
        for number, (arrival, key) in enumerate(zip(arrivals, keys, strict=True), self._next):
            callback = arrival.callback
            if key is None:
                first = window.first(arrival, number)
            elif (first := firsts.get((arrival.account, key))) is None:
                firsts[arrival.account, key] = number
            text = None if callback.text is None else callback.text.encode().hex()
            devices = json.dumps(callback.devices, ensure_ascii=False)
            shown = (arrival.account, callback.kind, devices, text, callback.request_id, key, arrival.received, first)
            rows.append([number, *shown, callback.raw.hex()])
        return rows

    def _known_requests(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        if not keys:
            return {}
        found = self._writer.execute(KNOWN_REQUESTS, (json.dumps(list(keys)),))
        return {(account, key): number for account, key, number in found}

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            self._writer.execute(statement, values)
            self._writer.execute("COMMIT")
        except apsw.Error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _last_id(self) -> int:
        row = self._writer.execute("SELECT seq FROM sqlite_sequence WHERE name = 'callbacks'").fetchone()
        return int(row[0]) if row else 0

    def _recalled(self) -> Window:
        """What may still be repeated of the callbacks before a start or a failure."""
        window = Window()
        newest = self._writer.execute("SELECT received FROM callbacks ORDER BY id DESC LIMIT 1").fetchone()
        if newest:
            query = (
                f"SELECT {COLUMNS} FROM callbacks WHERE id > ? AND received >= ? AND request_key IS NULL ORDER BY id"  # noqa: S608  names only
            )
            for row in self._writer.execute(query, (self._next - RECALLED, newest[0] - WINDOW)):
                stored = _stored(*row)
                window.first(Arrival(stored.account, stored.received, read(stored.raw).callback()), stored.id)
        return window

    def _note_pages(self, connection: apsw.Connection, database: str, pages: int) -> int:
        del connection, database
        self._pages = pages
        return apsw.SQLITE_OK

    def _reader(self) -> apsw.Connection:
        reader: apsw.Connection | None = getattr(self._threads, "reader", None)
        if reader is None:
            reader = self._threads.reader = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
            reader.set_busy_timeout(BUSY_MILLISECONDS)
            reader.execute("PRAGMA query_only = ON")
            self._readers.append(reader)
        return reader


def _stored(
    number: int,
    account: str,
    kind: str,
    devices: str,
    text: str | None,
    request_id: str | None,
    received: int,
    duplicate_of: int | None,
    raw: bytes,
) -> Stored:
    named = tuple(Device(*entry) for entry in json.loads(devices))
    return Stored(number, account, kind, named, text, request_id, received, duplicate_of, raw)
