"""Reading from the SQLite store: one connection for each thread that reads, so that nobody waits for the writer."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from thingspace_provider.listener.callback_parser import Device
from thingspace_provider.listener.store.base import MessageQuery, StoredMessage, StoreError
from thingspace_provider.listener.store.query_sql import build_query
from thingspace_provider.listener.store.sqlite.connections import BUSY_MILLISECONDS

INTERRUPT_INTERVAL_SECONDS = 0.01  # for who still reads at the end
CONDITIONS = {
    "device": """id IN (
        SELECT callback FROM devices WHERE device = :device AND callback {span}
        UNION ALL SELECT late.id FROM callbacks AS late, json_each(late.devices) AS entry
        WHERE late.id > (SELECT id FROM devices_until) AND +late.id {span} AND lower(entry.value->>1) = :device)""",
    "named": "instr(lower(devices), :named)",
    "contains": "instr(lower(text), :contains)",
}


class ThreadConnection(NamedTuple):
    """A connection, and the lock that its thread holds while it reads: `close` waits for that."""

    connection: apsw.Connection
    using: threading.Lock


class Reader:
    """Selects from the file. Raises StoreFailed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.local()
        self._guard = threading.Lock()
        self._opened: list[ThreadConnection] = []
        self._closed = False

    def rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            opened = self._thread_connection()
            with opened.using:
                return opened.connection.execute(query, values).fetchall()
        except apsw.Error as reason:
            raise StoreError(str(reason)) from reason

    def read(self, selection: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage."""
        query, values = build_query(selection, "callbacks", CONDITIONS)
        found = [message_from_row(row) for row in self.rows(query, values)]
        return found[::-1] if selection.newest else found

    def close(self) -> None:
        """Close every connection; who still reads is interrupted, and nobody can begin to."""
        with self._guard:
            self._closed = True
            for opened in self._opened:
                while not opened.using.acquire(timeout=INTERRUPT_INTERVAL_SECONDS):
                    opened.connection.interrupt()
                opened.connection.close()
                opened.using.release()

    def _thread_connection(self) -> ThreadConnection:
        opened: ThreadConnection | None = getattr(self._threads, "opened", None)
        if opened is None:
            with self._guard:
                if self._closed:
                    raise StoreError("the store is closed")
                connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
                connection.set_busy_timeout(BUSY_MILLISECONDS)
                connection.execute("PRAGMA query_only = ON")
                opened = self._threads.opened = ThreadConnection(connection, threading.Lock())
                self._opened.append(opened)
        return opened


def message_from_row(row: tuple[Any, ...]) -> StoredMessage:
    """A row of COLUMNS."""
    number, account, kind, devices, *rest = row
    return StoredMessage(number, account, kind, tuple(Device(*entry) for entry in json.loads(devices)), *rest)
