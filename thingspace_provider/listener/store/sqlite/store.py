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
    DeliveryHistory,
    IncomingCallback,
    MessageQuery,
    PurgeResult,
    StoredMessage,
    StoreError,
    StoreOpenError,
)
from thingspace_provider.listener.store.duplicates import WINDOW_US, DuplicateWindow, dedup_key
from thingspace_provider.listener.store.query_sql import MESSAGE_COLUMNS
from thingspace_provider.listener.store.sqlite.connections import lock_store, open_background_writer, open_writer
from thingspace_provider.listener.store.sqlite.coordination import SqliteCoordination
from thingspace_provider.listener.store.sqlite.outbox import SqliteOutbox
from thingspace_provider.listener.store.sqlite.reader import Reader, message_from_row
from thingspace_provider.listener.store.sqlite.writer import Writer

DEVICE_INDEX_BATCH_SIZE = (
    1000  # callbacks, which takes some 5 ms; so many at least have to be looked through by readers
)
MAX_RELOADED = 20_000  # newest callbacks that are looked at again after a start, as firsts of duplicates to come
RELOAD_BATCH_SIZE = 500

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
SET_INDEX_POSITION = "UPDATE devices_until SET id = ?"
FIND_ORIGINALS = """
SELECT account, request_key, min(id) FROM callbacks
WHERE (account, request_key) IN (SELECT value->>0, value->>1 FROM json_each(?)) AND duplicate_of IS NULL
GROUP BY account, request_key
"""
RELOAD = f"""
SELECT {MESSAGE_COLUMNS} FROM callbacks WHERE id > :after AND received >= :since AND request_key IS NULL
ORDER BY id LIMIT {RELOAD_BATCH_SIZE}
"""  # noqa: S608  names only
PURGE_CANDIDATES = """
SELECT received, id, EXISTS (SELECT 1 FROM outbox WHERE callback = id AND state IN ('waiting', 'dead'))
FROM callbacks WHERE (received, id) > (:received, :id) AND received < :before ORDER BY received, id LIMIT :limit
"""
PURGE = (
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

    max_batch_size = 2000

    def __init__(self, path: Path, sinks: Sequence[str] = ()) -> None:
        self._lock = lock_store(path)
        write_lock = threading.Lock()
        try:
            self._writer = Writer(open_writer(path), write_lock)
            self._background = Writer(open_background_writer(path), write_lock)
            self._reader = Reader(path)
            self.outbox = SqliteOutbox(self._background, self._reader, sinks)
            with self._writer.transaction() as writer:
                self._next_id = _fetch_int(writer, LAST_ID) + 1
                self._indexed_until = _fetch_int(writer, "SELECT id FROM devices_until")
        except (apsw.Error, StoreError, StoreOpenError) as reason:
            self._lock.release()
            raise StoreOpenError(f"{path} cannot be used as a store: {reason}") from reason
        self.coordination = SqliteCoordination(self._writer, self._reader)
        self._loaded_window: DuplicateWindow | None = None

    def append(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all or none, in one transaction with one sync."""
        try:
            with self._writer.transaction() as writer:
                writer.execute(INSERT, (json.dumps(self._build_rows(writer, callbacks)),))
                self.outbox.enqueue(writer, self._next_id, callbacks)
        except StoreError:
            self._loaded_window = None  # it holds ids that were not given after all
            raise
        self._next_id += len(callbacks)

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
        last_id = self._next_id - 1
        if last_id - self._indexed_until >= DEVICE_INDEX_BATCH_SIZE:
            with contextlib.suppress(StoreError), self._background.transaction() as writer:
                writer.execute(INDEX_DEVICES)
                writer.execute(SET_INDEX_POSITION, (last_id,))
                self._indexed_until = last_id
        self._writer.checkpoint()

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage."""
        return self._reader.find(query)

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """One callback and what became of it."""
        return self._reader.delivery_history(message_id)

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Remove what is old and owed to nobody; the space is used again."""
        received, message_id = after
        values = {"before": received_before, "received": received, "id": message_id, "limit": limit}
        candidates = self._reader.fetch_rows(PURGE_CANDIDATES, values)
        purgeable_ids = json.dumps([number for _, number, is_pending in candidates if not is_pending])
        with self._background.transaction() as writer:
            for statement in PURGE:
                writer.execute(statement, (purgeable_ids,))
            purged = writer.changes()
        self._background.checkpoint()
        return PurgeResult(purged, candidates[-1][:2] if len(candidates) == limit else None)

    def close(self) -> None:
        """Close every connection; the last one copies the WAL into the database."""
        self._reader.close()
        self._background.close()
        self._writer.close()
        self._lock.release()

    def _build_rows(self, writer: apsw.Connection, callbacks: Sequence[IncomingCallback]) -> list[list[Any]]:
        window = self._duplicate_window()
        keys = [dedup_key(incoming) for incoming in callbacks]
        originals = _find_originals(writer, {(a.account, key) for a, key in zip(callbacks, keys, strict=True) if key})
        now = time.time_ns() // 1000
        rows = []
        for message_id, (arrival, key) in enumerate(zip(callbacks, keys, strict=True), self._next_id):
            callback = arrival.callback
            if key is None:
                duplicate_of = window.find_or_add(arrival, message_id)
            elif (duplicate_of := originals.get((arrival.account, key), arrival.duplicate_of)) is None:
                originals[arrival.account, key] = message_id
            text = None if callback.text is None else callback.text.encode().hex()
            devices = json.dumps(callback.devices, ensure_ascii=False)
            columns = (
                arrival.account,
                callback.kind,
                devices,
                text,
                callback.request_id,
                key,
                arrival.received_at,
                duplicate_of,
            )
            rows.append([message_id, *columns, now, callback.body.hex()])
        return rows

    def _duplicate_window(self) -> DuplicateWindow:
        """What may still be repeated, also of the callbacks before a start or a failure: those are read once."""
        if self._loaded_window is not None:
            return self._loaded_window
        window = DuplicateWindow()
        newest = self._reader.fetch_rows("SELECT received FROM callbacks ORDER BY id DESC LIMIT 1", {})
        since, after = newest[0][0] - WINDOW_US if newest else 0, self._next_id - MAX_RELOADED
        while rows := self._reader.fetch_rows(RELOAD, {"since": since, "after": after}):
            for message in map(message_from_row, rows):
                window.find_or_add(
                    IncomingCallback(message.account, message.received_at, reparse(message.kind, message.body)),
                    message.id,
                )
            after = rows[-1][0]
        self._loaded_window = window
        return window


def _find_originals(writer: apsw.Connection, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    if not keys:
        return {}
    rows = writer.execute(FIND_ORIGINALS, (json.dumps(list(keys)),))
    return {(account, key): message_id for account, key, message_id in rows}


def _fetch_int(writer: apsw.Connection, query: str) -> int:
    row = writer.execute(query).fetchone()
    return int(row[0]) if row else 0
