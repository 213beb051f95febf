"""Reading from the SQLite store: one connection for each thread that reads, so that nobody waits for the writer."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import apsw

from thingspace_provider.listener.callback import Device
from thingspace_provider.listener.sqlite_file import BUSY_MILLISECONDS
from thingspace_provider.listener.store import Selection, Stored, StoreFailed

COLUMNS = "id, account, kind, devices, text, request_id, received, stored, duplicate_of, raw"
# The ids between which callbacks of a time lie; clocks are set back, so that this narrows and `received` decides.
WITHIN = "SELECT {}(id) FROM callbacks WHERE received BETWEEN :received_from AND :received_until"
CONDITIONS = {
    "before": "id < :before",
    "account": "account = :account",
    "kind": "kind = :kind",
    "device": "id IN (SELECT callback FROM devices WHERE device = :device AND callback > :after)",
    "device_kind": "EXISTS (SELECT 1 FROM json_each(devices) WHERE (value->>0) = :device_kind"
    " AND (:device IS NULL OR lower(value->>1) = :device))",
    "contains": "instr(lower(text), :contains)",
}
FOREVER = 2**62


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
        query, values = selecting(selection)
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


def selecting(selection: Selection) -> tuple[str, dict[str, Any]]:
    """The query of a selection, and its values."""
    values = {
        **vars(selection),
        "device": selection.device and selection.device.lower(),
        "device_kind": selection.device_kind and selection.device_kind.lower(),
        "contains": selection.contains and ascii_lower(selection.contains),
    }
    conditions = ["id > :after", *(test for name, test in CONDITIONS.items() if values[name] is not None)]
    if selection.received_from is not None or selection.received_until is not None:
        values["received_from"] = selection.received_from or 0
        values["received_until"] = FOREVER if selection.received_until is None else selection.received_until
        conditions.append("received BETWEEN :received_from AND :received_until")
        conditions.append(f"id BETWEEN ({WITHIN.format('min')}) AND ({WITHIN.format('max')})")
    order = "ORDER BY id DESC" if selection.last else "ORDER BY id"
    query = f"SELECT {COLUMNS} FROM callbacks WHERE {' AND '.join(conditions)} {order} LIMIT :limit"  # noqa: S608  names only
    return query, values


def ascii_lower(text: str) -> str:
    """As SQLite's lower(): the letters of ASCII only."""
    return text.lower() if text.isascii() else "".join(one.lower() if one.isascii() else one for one in text)


def stored_of(row: tuple[Any, ...]) -> Stored:
    """A row of COLUMNS."""
    number, account, kind, devices, *rest = row
    return Stored(number, account, kind, tuple(Device(*entry) for entry in json.loads(devices)), *rest)
