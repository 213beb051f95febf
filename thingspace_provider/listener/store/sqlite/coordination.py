"""For a listener that has its store to itself: it always has the turn, and a restart knows what was noted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from thingspace_provider.listener.store.sqlite.reader import Reader
from thingspace_provider.listener.store.sqlite.writer import Writer

GET_VALUE = "SELECT number FROM notes WHERE name = :name"
SET_VALUE = "INSERT INTO notes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET number = excluded.number"


class SqliteCoordination:
    """See `shared.py`."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    def leader_lease(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """It has."""
        del name
        return contextlib.nullcontext(lambda: True)

    def now(self) -> int:
        """This machine's clock."""
        return time.time_ns() // 1000

    def get_value(self, name: str) -> int:
        """The number that was noted last."""
        rows = self._reader.fetch_rows(GET_VALUE, {"name": name})
        return int(rows[0][0]) if rows else 0

    def set_value(self, name: str, value: int) -> None:
        """Note a number."""
        with self._writer.transaction() as writer:
            writer.execute(SET_VALUE, (name, value))
