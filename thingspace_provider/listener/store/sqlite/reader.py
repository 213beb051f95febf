"""Reading from the SQLite store: one connection for each thread that reads, so that nobody waits for the writer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from thingspace_provider.listener.callback_parser import Device
from thingspace_provider.listener.store.base import (
    Delivery,
    DeliveryHistory,
    MessageQuery,
    StoredMessage,
    StoreError,
)
from thingspace_provider.listener.store.query_sql import MESSAGE_COLUMNS, build_query
from thingspace_provider.listener.store.sqlite.connections import open_reader

INTERRUPT_INTERVAL_SECONDS = 0.01  # for who still reads at the end
DELIVERY_COLUMNS = "sink, state, attempts, reason, changed, due"
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
    lock: threading.Lock


class Reader:
    """Selects from the file. Raises StoreFailed."""

    def __init__(self, path: Path, connect: Callable[[Path], apsw.Connection] = open_reader) -> None:
        self._path, self._connect = path, connect
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._connections: list[ThreadConnection] = []
        self._closed = False

    def fetch_rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            thread_connection = self._thread_connection()
            with thread_connection.lock:
                return thread_connection.connection.execute(query, values).fetchall()
        except apsw.Error as error:
            raise StoreError(str(error)) from error

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage."""
        sql, values = build_query(query, "callbacks", CONDITIONS)
        messages = [message_from_row(row) for row in self.fetch_rows(sql, values)]
        return messages[::-1] if query.newest else messages

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """Return a message with its deliveries, or None if there is none of this id."""
        values = {"id": message_id}
        rows = self.fetch_rows(f"SELECT {MESSAGE_COLUMNS} FROM callbacks WHERE id = :id", values)  # noqa: S608  names only
        if not rows:
            return None
        query = f"SELECT {DELIVERY_COLUMNS} FROM outbox WHERE callback = :id ORDER BY sink"  # noqa: S608  names only
        deliveries = tuple(Delivery(*row) for row in self.fetch_rows(query, values))
        return DeliveryHistory(message_from_row(rows[0]), deliveries)

    def close(self) -> None:
        """Close every connection; who still reads is interrupted, and nobody can begin to."""
        with self._lock:
            self._closed = True
            for thread_connection in self._connections:
                while not thread_connection.lock.acquire(timeout=INTERRUPT_INTERVAL_SECONDS):
                    thread_connection.connection.interrupt()
                thread_connection.connection.close()
                thread_connection.lock.release()

    def _thread_connection(self) -> ThreadConnection:
        thread_connection: ThreadConnection | None = getattr(self._threads, "opened", None)
        if thread_connection is None:
            with self._lock:
                if self._closed:
                    raise StoreError("the store is closed")
                thread_connection = ThreadConnection(self._connect(self._path), threading.Lock())
                self._threads.opened = thread_connection
                self._connections.append(thread_connection)
        return thread_connection


def message_from_row(row: tuple[Any, ...]) -> StoredMessage:
    """A row of COLUMNS."""
    message_id, account, kind, devices, *rest = row
    return StoredMessage(message_id, account, kind, tuple(Device(*entry) for entry in json.loads(devices)), *rest)
