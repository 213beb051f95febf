"""Reads from a SQLite file, with one connection for each thread, so that no reader waits for a writer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from thingspace_provider.listener.store.base import StoreError
from thingspace_provider.listener.store.reader import SqlReader
from thingspace_provider.listener.store.sqlite.connections import open_reader

INTERRUPT_INTERVAL_SECONDS = 0.01


class ThreadConnection(NamedTuple):
    """Connection, and the lock that its thread holds during a query. `close` waits for it."""

    connection: apsw.Connection
    lock: threading.Lock


class SqliteReader(SqlReader):
    """Reads from the file. `connect` opens the connection of a thread."""

    query_conditions = {  # noqa: RUF012  never changed
        "device": """id IN (
            SELECT message_id FROM devices WHERE device_id = :device AND message_id {id_range}
            UNION ALL SELECT recent.id FROM messages AS recent, json_each(recent.devices) AS entry
            WHERE recent.id > (SELECT message_id FROM device_index_position) AND +recent.id {id_range}
            AND lower(entry.value->>1) = :device)""",
        "device_entry": "instr(lower(devices), :device_entry)",
        "contains": "instr(lower(text), :contains)",
    }

    def __init__(self, path: Path, connect: Callable[[Path], apsw.Connection] = open_reader) -> None:
        self._path, self._connect = path, connect
        self._threads = threading.local()
        self._lock = threading.Lock()
        self._connections: list[ThreadConnection] = []
        self._closed = False

    def fetch_rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a query and return its rows. Raises StoreError."""
        try:
            thread_connection = self._thread_connection()
            with thread_connection.lock:
                return thread_connection.connection.execute(query, values).fetchall()
        except apsw.Error as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        """Interrupt running queries, close every connection, and reject later queries."""
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
