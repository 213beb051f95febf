"""Reading from the SQLite store: one connection for each thread that reads, so that nobody waits for the writer."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import apsw

from thingspace_provider.listener.callback import Device
from thingspace_provider.listener.store import Selection, Stored, StoreFailed
from thingspace_provider.listener.stores.selecting import select
from thingspace_provider.listener.stores.sqlite_file import BUSY_MILLISECONDS

CONDITIONS = {
    "device": """id IN (
        SELECT callback FROM devices WHERE device = :device AND callback > :after
        UNION ALL SELECT late.id FROM callbacks AS late, json_each(late.devices) AS entry
        WHERE late.id > (SELECT id FROM devices_until) AND lower(entry.value->>1) = :device)""",
    "named": "instr(lower(devices), :named)",
    "contains": "instr(lower(text), :contains)",
}


class Reader:
    """Selects from the file. Raises StoreFailed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.local()
        self._connections: list[apsw.Connection] = []

    def rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        try:
            return self._connection().execute(query, values).fetchall()
        except apsw.Error as reason:
            raise StoreFailed(str(reason)) from reason

    def read(self, selection: Selection) -> list[Stored]:
        """Stored callbacks in the order of storage."""
        query, values = select(selection, "callbacks", CONDITIONS)
        found = [stored_of(row) for row in self.rows(query, values)]
        return found[::-1] if selection.last else found

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            connection.close()

    def _connection(self) -> apsw.Connection:
        connection: apsw.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = self._threads.connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
            connection.set_busy_timeout(BUSY_MILLISECONDS)
            connection.execute("PRAGMA query_only = ON")
            self._connections.append(connection)
        return connection


def stored_of(row: tuple[Any, ...]) -> Stored:
    """A row of COLUMNS."""
    number, account, kind, devices, *rest = row
    return Stored(number, account, kind, tuple(Device(*entry) for entry in json.loads(devices)), *rest)
