"""The store in one SQLite file: a connection that appends, one that works for the sinks, one for each reader."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from thingspace_provider.listener.callback_parser import reparse
from thingspace_provider.listener.store.base import (
    Delivery,
    DeliveryHistory,
    IncomingCallback,
    MessageQuery,
    PurgeResult,
    StoredMessage,
    StoreError,
    StoreOpenError,
)
from thingspace_provider.listener.store.duplicates import WINDOW_US, DuplicateWindow, dedup_key
from thingspace_provider.listener.store.query_sql import COLUMNS
from thingspace_provider.listener.store.sqlite.connections import lock_store, open_background_writer, open_writer
from thingspace_provider.listener.store.sqlite.coordination import SqliteShared
from thingspace_provider.listener.store.sqlite.outbox import DELIVERY, SqliteOutbox
from thingspace_provider.listener.store.sqlite.reader import Reader, message_from_row
from thingspace_provider.listener.store.sqlite.writer import Writer

DEVICES_AT_ONCE = 1000  # callbacks, which takes some 5 ms; so many at least have to be looked through by readers
MAX_RELOADED = 20_000  # newest callbacks that are looked at again after a start, as firsts of duplicates to come
RECALLED_AT_ONCE = 500

# One statement for a whole batch: SQLite works through it without the interpreter, whose lock the server needs.
INSERT = """
INSERT INTO callbacks (id, account, kind, devices, text, request_id, request_key, received, duplicate_of, stored, raw)
SELECT value->>0, value->>1, value->>2, value->>3, CAST(unhex(value->>4) AS TEXT), value->>5, value->>6,
       value->>7, value->>8, value->>9, unhex(value->>10)
FROM json_each(?)
"""
# Devices are noted for many callbacks at once: in the order of devices that costs a third of what each by itself does.
INDEX_DEVICES = """
INSERT OR IGNORE INTO devices
SELECT lower(device.value->>1) AS named, callbacks.id FROM callbacks, json_each(callbacks.devices) AS device
WHERE callbacks.id > (SELECT id FROM devices_until) ORDER BY named
"""
LAST_ID = "SELECT seq FROM sqlite_sequence WHERE name = 'callbacks'"
NOTED_UNTIL = "UPDATE devices_until SET id = ?"
KNOWN_REQUESTS = """
SELECT account, request_key, min(id) FROM callbacks
WHERE (account, request_key) IN (SELECT value->>0, value->>1 FROM json_each(?)) AND duplicate_of IS NULL
GROUP BY account, request_key
"""
RELOAD = f"""
SELECT {COLUMNS} FROM callbacks WHERE id > :after AND received >= :since AND request_key IS NULL
ORDER BY id LIMIT {RECALLED_AT_ONCE}
"""  # noqa: S608  names only
OLDEST = """
SELECT received, id, EXISTS (SELECT 1 FROM outbox WHERE callback = id AND state IN ('waiting', 'dead'))
FROM callbacks WHERE (received, id) > (:received, :id) AND received < :before ORDER BY received, id LIMIT :limit
"""
REMOVE = (
    """
    DELETE FROM devices WHERE (device, callback) IN (
        SELECT lower(device.value->>1), callbacks.id FROM callbacks, json_each(callbacks.devices) AS device
        WHERE callbacks.id IN (SELECT value FROM json_each(?)))
    """,
    "DELETE FROM outbox WHERE callback IN (SELECT value FROM json_each(?))",
    "DELETE FROM callbacks WHERE id IN (SELECT value FROM json_each(?))",
)


class SqliteStore:
    """Opens or creates the file, readable by this user alone. Raises StoreUnusable.

    A lock file beside it keeps a second listener away: ids and duplicates are counted here, in one process.
    """

    batch = 2000

    def __init__(self, path: Path, sinks: Sequence[str] = ()) -> None:
        self._lock = lock_store(path)
        turn = threading.Lock()
        try:
            self._writer = Writer(open_writer(path), turn)
            self._background = Writer(open_background_writer(path), turn)
            self._reader = Reader(path)
            self.outbox = SqliteOutbox(self._background, self._reader, sinks)
            with self._writer.transaction() as writer:
                self._next = _number(writer, LAST_ID) + 1
                self._indexed_until = _number(writer, "SELECT id FROM devices_until")
        except (apsw.Error, StoreError, StoreOpenError) as reason:
            self._lock.close()
            raise StoreOpenError(f"{path} cannot be used as a store: {reason}") from reason
        self.coordination = SqliteShared(self._writer, self._reader)
        self._window: DuplicateWindow | None = None

    def append(self, arrivals: Sequence[IncomingCallback]) -> None:
        """Store all or none, in one transaction with one sync."""
        try:
            with self._writer.transaction() as writer:
                writer.execute(INSERT, (json.dumps(self._rows(writer, arrivals)),))
                self.outbox.enqueue(writer, self._next, arrivals)
        except StoreError:
            self._window = None  # it holds ids that were not given after all
            raise
        self._next += len(arrivals)

    def check_writable(self) -> None:
        """Write the one row that is there for this."""
        with self._writer.transaction() as writer:
            writer.execute("UPDATE proof SET written = written + 1")

    def run_maintenance(self) -> None:
        """Note the devices of what came, when that is much, and copy a long WAL into the database.

        Also look again at what came before a start or a failure, which takes some half a second after a peak.
        """
        with contextlib.suppress(StoreError):
            self._duplicate_window()
        last = self._next - 1
        if last - self._indexed_until >= DEVICES_AT_ONCE:
            with contextlib.suppress(StoreError), self._background.transaction() as writer:
                writer.execute(INDEX_DEVICES)
                writer.execute(NOTED_UNTIL, (last,))
                self._indexed_until = last
        self._writer.tidy()

    def find(self, selection: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage."""
        return self._reader.read(selection)

    def delivery_history(self, number: int) -> DeliveryHistory | None:
        """One callback and what became of it."""
        found = self._reader.rows(f"SELECT {COLUMNS} FROM callbacks WHERE id = :id", {"id": number})  # noqa: S608  names only
        if not found:
            return None
        query = f"SELECT {DELIVERY} FROM outbox WHERE callback = :id ORDER BY sink"  # noqa: S608  names only
        return DeliveryHistory(
            message_from_row(found[0]), tuple(Delivery(*row) for row in self._reader.rows(query, {"id": number}))
        )

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Remove what is old and owed to nobody; the space is used again."""
        received, number = after
        values = {"before": received_before, "received": received, "id": number, "limit": limit}
        looked_at = self._reader.rows(OLDEST, values)
        free = json.dumps([number for _, number, owed in looked_at if not owed])
        with self._background.transaction() as writer:
            for statement in REMOVE:
                writer.execute(statement, (free,))
            removed = writer.changes()
        self._background.tidy()
        return PurgeResult(removed, looked_at[-1][:2] if len(looked_at) == limit else None)

    def close(self) -> None:
        """Close every connection; the last one copies the WAL into the database."""
        self._reader.close()
        self._background.close()
        self._writer.close()
        self._lock.close()

    def _rows(self, writer: apsw.Connection, arrivals: Sequence[IncomingCallback]) -> list[list[Any]]:
        window = self._duplicate_window()
        keys = [dedup_key(arrival) for arrival in arrivals]
        firsts = _known_requests(writer, {(a.account, key) for a, key in zip(arrivals, keys, strict=True) if key})
        now = time.time_ns() // 1000
        rows = []
        for number, (arrival, key) in enumerate(zip(arrivals, keys, strict=True), self._next):
            callback = arrival.callback
            if key is None:
                first = window.first(arrival, number)
            elif (first := firsts.get((arrival.account, key), arrival.duplicate_of)) is None:
                firsts[arrival.account, key] = number
            text = None if callback.text is None else callback.text.encode().hex()
            devices = json.dumps(callback.devices, ensure_ascii=False)
            shown = (arrival.account, callback.kind, devices, text, callback.request_id, key, arrival.received, first)
            rows.append([number, *shown, now, callback.raw.hex()])
        return rows

    def _duplicate_window(self) -> DuplicateWindow:
        """What may still be repeated, also of the callbacks before a start or a failure: those are read once."""
        if self._window is not None:
            return self._window
        window = DuplicateWindow()
        newest = self._reader.rows("SELECT received FROM callbacks ORDER BY id DESC LIMIT 1", {})
        since, after = newest[0][0] - WINDOW_US if newest else 0, self._next - MAX_RELOADED
        while rows := self._reader.rows(RELOAD, {"since": since, "after": after}):
            for stored in map(message_from_row, rows):
                window.first(
                    IncomingCallback(stored.account, stored.received_at, reparse(stored.kind, stored.body)), stored.id
                )
            after = rows[-1][0]
        self._window = window
        return window


def _known_requests(writer: apsw.Connection, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    if not keys:
        return {}
    found = writer.execute(KNOWN_REQUESTS, (json.dumps(list(keys)),))
    return {(account, key): number for account, key, number in found}


def _number(writer: apsw.Connection, query: str) -> int:
    row = writer.execute(query).fetchone()
    return int(row[0]) if row else 0
