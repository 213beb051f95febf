"""Reads from a PostgreSQL database."""

from __future__ import annotations

import re
from typing import Any

from thingspace_provider.listener.store.postgres.connections import ConnectionPool
from thingspace_provider.listener.store.reader import SqlReader

PLACEHOLDER = re.compile(r":(\w+)")


class PostgresReader(SqlReader):
    """Runs the queries that both databases share."""

    query_conditions = {  # noqa: RUF012  never changed
        "device": "device_ids @> ARRAY[:device]",
        "device_entry": 'strpos(lower(devices COLLATE "C"), :device_entry) > 0',
        "contains": 'strpos(lower(text COLLATE "C"), :contains) > 0',
    }

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def fetch_rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a query with named placeholders and return its rows. Raises StoreError."""
        return self._pool.fetch_rows(PLACEHOLDER.sub(r"%(\1)s", query), values)
