"""Coordination of a listener that does not share its store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from thingspace_provider.listener.store.sqlite.reader import SqliteReader
from thingspace_provider.listener.store.sqlite.writer import Writer

GET_VALUE = "SELECT value FROM coordination WHERE name = :name"
SET_VALUE = "INSERT INTO coordination VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class SqliteCoordination:
    """Values of one listener, which is always the leader. See `base.Coordination`."""

    def __init__(self, writer: Writer, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader

    def leader_lease(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """Hold the lease: there are no other replicas."""
        del name
        return contextlib.nullcontext(lambda: True)

    def now(self) -> int:
        """Return the time of this machine."""
        return time.time_ns() // 1000

    def get_value(self, name: str) -> int:
        """Return the last value."""
        rows = self._reader.fetch_rows(GET_VALUE, {"name": name})
        return int(rows[0][0]) if rows else 0

    def set_value(self, name: str, value: int) -> None:
        """Set a value."""
        with self._writer.transaction() as connection:
            connection.execute(SET_VALUE, (name, value))
