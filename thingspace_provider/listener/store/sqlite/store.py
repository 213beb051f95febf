"""Store in one SQLite file, with separate connections for appends, for the outbox and for each reading thread."""

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
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.base import PurgeResult, Store, StoreError, StoreOpenError
from thingspace_provider.listener.store.duplicates import WINDOW_US, DuplicateWindow, dedup_key
from thingspace_provider.listener.store.query_sql import MESSAGE_COLUMNS
from thingspace_provider.listener.store.reader import message_from_row
from thingspace_provider.listener.store.sqlite.connections import lock_store, open_background_writer, open_writer
from thingspace_provider.listener.store.sqlite.coordination import SqliteCoordination
from thingspace_provider.listener.store.sqlite.outbox import SqliteOutbox
from thingspace_provider.listener.store.sqlite.reader import SqliteReader
from thingspace_provider.listener.store.sqlite.writer import MAX_WAL_PAGES, WRITE_LOCK_TIMEOUT_SECONDS, Writer

DEVICE_INDEX_BATCH_SIZE = 1000  # messages, which take 5 ms; readers scan the messages that are not indexed yet
MAX_RELOADED = 20_000  # newest messages that are read for the duplicate window after a start
RELOAD_BATCH_SIZE = 500
encode_json = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` with an option builds an encoder for each call

# One statement for a batch: SQLite runs it without the interpreter lock, which the server needs.
INSERT = """
INSERT INTO messages (id, account, kind, devices, text, request_id, dedup_key, received_at, duplicate_of, stored_at,
                      body, trace_context)
SELECT value->>0, value->>1, value->>2, value->>3, CAST(unhex(value->>4) AS TEXT), value->>5, value->>6,
       value->>7, value->>8, value->>9, unhex(value->>10), value->>11
FROM json_each(?)
"""
# Many messages at once, in the order of the index, take a third of the time of single inserts.
INDEX_DEVICES = """
INSERT OR IGNORE INTO devices
SELECT lower(device.value->>1) AS device_id, messages.id FROM messages, json_each(messages.devices) AS device
WHERE messages.id > (SELECT message_id FROM device_index_position) ORDER BY device_id
"""
LAST_ID = "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
GET_INDEX_POSITION = "SELECT message_id FROM device_index_position"
SET_INDEX_POSITION = "UPDATE device_index_position SET message_id = ?"
FIND_ORIGINALS = """
SELECT account, dedup_key, min(id) FROM messages
WHERE (account, dedup_key) IN (SELECT value->>0, value->>1 FROM json_each(?)) AND duplicate_of IS NULL
GROUP BY account, dedup_key
"""
RELOAD = f"""
SELECT {MESSAGE_COLUMNS} FROM messages WHERE id > :after AND received_at >= :since AND dedup_key IS NULL
ORDER BY id LIMIT {RELOAD_BATCH_SIZE}
"""  # noqa: S608  names only
LAST_RECEIVED = "SELECT received_at FROM messages ORDER BY id DESC LIMIT 1"
PURGE_CANDIDATES = """
SELECT received_at, id, EXISTS (SELECT 1 FROM outbox WHERE message_id = id AND state IN ('pending', 'dead_letter'))
FROM messages WHERE (received_at, id) > (:received_at, :id) AND received_at < :before
ORDER BY received_at, id LIMIT :limit
"""
PURGE = (
    """
    DELETE FROM devices WHERE (device_id, message_id) IN (
        SELECT lower(device.value->>1), messages.id FROM messages, json_each(messages.devices) AS device
        WHERE messages.id IN (SELECT value FROM json_each(?)))
    """,
    "DELETE FROM outbox WHERE message_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))",
)


class SqliteStore(Store):
    """Opens or creates the file, readable by this user only. Raises StoreOpenError.

    A lock file excludes a second listener, because ids and duplicates are counted in this process.

    Args:
        path: the file.
        sinks: names for the outbox.
        write_lock_timeout_seconds: after which a transaction fails that waits for another one.
        max_wal_pages: of 4 kB; a longer write-ahead log is copied into the database.
    """

    outbox: SqliteOutbox
    _reader: SqliteReader
    max_batch_size = 2000

    def __init__(
        self,
        path: Path,
        sinks: Sequence[str] = (),
        *,
        write_lock_timeout_seconds: float = WRITE_LOCK_TIMEOUT_SECONDS,
        max_wal_pages: int = MAX_WAL_PAGES,
    ) -> None:
        self._lock = lock_store(path)
        write_options = (threading.Lock(), write_lock_timeout_seconds, max_wal_pages)
        try:
            self._writer = Writer(open_writer(path), *write_options)
            self._background = Writer(open_background_writer(path), *write_options)
            self._reader = SqliteReader(path)
            self.outbox = SqliteOutbox(self._background, self._reader, sinks)
            with self._writer.transaction() as connection:
                self._next_id = _fetch_int(connection, LAST_ID) + 1
                self._indexed_until = _fetch_int(connection, GET_INDEX_POSITION)
        except (apsw.Error, StoreError, StoreOpenError) as error:
            self._lock.release()
            raise StoreOpenError(f"{path} cannot be used as a store: {error}") from error
        self.coordination = SqliteCoordination(self._writer, self._reader)
        self._loaded_window: DuplicateWindow | None = None

    def append(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all callbacks or none, in one transaction with one sync."""
        try:
            with self._writer.transaction() as connection:
                connection.execute(INSERT, (json.dumps(self._build_rows(connection, callbacks)),))
                self.outbox.enqueue(connection, self._next_id, callbacks)
        except StoreError:
            self._loaded_window = None  # it has ids that were rolled back
            raise
        self._next_id += len(callbacks)

    def check_writable(self) -> None:
        """Commit a write to a table of its own."""
        with self._writer.transaction() as connection:
            connection.execute("UPDATE write_check SET writes = writes + 1")

    def run_maintenance(self) -> None:
        """Reload the duplicate window after a start or failure, index devices, and copy a long WAL.

        Reloading takes about 0.5 seconds after a load peak.
        """
        with contextlib.suppress(StoreError):
            self._duplicate_window()
        last_id = self._next_id - 1
        if last_id - self._indexed_until >= DEVICE_INDEX_BATCH_SIZE:
            with contextlib.suppress(StoreError), self._background.transaction() as connection:
                connection.execute(INDEX_DEVICES)
                connection.execute(SET_INDEX_POSITION, (last_id,))
                self._indexed_until = last_id
        self._writer.checkpoint()

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Remove old messages. SQLite reuses their space."""
        received_at, message_id = after
        values = {"before": received_before, "received_at": received_at, "id": message_id, "limit": limit}
        candidates = self._reader.fetch_rows(PURGE_CANDIDATES, values)
        purgeable_ids = json.dumps([candidate_id for _, candidate_id, is_needed in candidates if not is_needed])
        with self._background.transaction() as connection:
            for statement in PURGE:
                connection.execute(statement, (purgeable_ids,))
            purged = connection.changes()
        self._background.checkpoint()
        return PurgeResult(purged, candidates[-1][:2] if len(candidates) == limit else None)

    def close(self) -> None:
        """Close every connection; the last one copies the WAL into the database."""
        self._reader.close()
        self._background.close()
        self._writer.close()
        self._lock.release()

    def _build_rows(self, connection: apsw.Connection, callbacks: Sequence[IncomingCallback]) -> list[list[Any]]:
        window = self._duplicate_window()
        keys = [(incoming.account, dedup_key(incoming)) for incoming in callbacks]
        originals = _find_originals(connection, {(account, key) for account, key in keys if key})
        now = time.time_ns() // 1000
        rows = []
        for message_id, (incoming, (account, key)) in enumerate(zip(callbacks, keys, strict=True), self._next_id):
            callback = incoming.callback
            if key is None:
                duplicate_of = window.find_or_add(incoming, message_id)
            elif (duplicate_of := originals.get((account, key), incoming.duplicate_of)) is None:
                originals[account, key] = message_id
            text = None if callback.text is None else callback.text.encode().hex()
            columns = (
                account,
                callback.kind,
                encode_json(callback.devices),
                text,
                callback.request_id,
                key,
                incoming.received_at,
            )
            rows.append([message_id, *columns, duplicate_of, now, callback.body.hex(), incoming.trace_context])
        return rows

    def _duplicate_window(self) -> DuplicateWindow:
        """Return the window. After a start or failure, reload it from the stored messages."""
        if self._loaded_window is not None:
            return self._loaded_window
        window = DuplicateWindow()
        newest = self._reader.fetch_rows(LAST_RECEIVED, {})
        since, after = newest[0][0] - WINDOW_US if newest else 0, self._next_id - MAX_RELOADED
        while rows := self._reader.fetch_rows(RELOAD, {"since": since, "after": after}):
            for message in map(message_from_row, rows):
                callback = reparse(message.kind, message.body)
                window.find_or_add(IncomingCallback(message.account, message.received_at, callback), message.id)
            after = rows[-1][0]
        self._loaded_window = window
        return window


def _find_originals(connection: apsw.Connection, keys: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    if not keys:
        return {}
    rows = connection.execute(FIND_ORIGINALS, (json.dumps(list(keys)),))
    return {(account, key): message_id for account, key, message_id in rows}


def _fetch_int(connection: apsw.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
