"""Queries on messages that SQLite and PostgreSQL share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from thingspace_provider.listener.callback_parser import reparse
from thingspace_provider.listener.model import (
    Delivery,
    DeliveryHistory,
    Device,
    MessageQuery,
    OutboxEntry,
    StoredMessage,
)
from thingspace_provider.listener.store.query_sql import (
    DELIVERIES,
    DELIVERY_COLUMN_COUNT,
    MESSAGE,
    build_count_query,
    build_query,
)

REPLACEMENT_CHARACTER = "\ufffd"
BODY_COLUMN = 9  # of MESSAGE_COLUMNS


class SqlReader(ABC):
    """Reads from a database in any thread."""

    query_conditions: ClassVar[dict[str, str]]

    @abstractmethod
    def fetch_rows(self, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run a query with named placeholders and return its rows. Raises StoreError."""

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Return the messages of a query. Raises StoreError."""
        rows = self.fetch_rows(*build_query(query, self.query_conditions))
        return [message_from_row(row) for row in (reversed(rows) if query.newest else rows)]

    def count_by_time(self, query: MessageQuery, bucket_us: int) -> dict[int, int]:
        """Return the number of messages in each bucket that has some. Raises StoreError."""
        return dict(self.fetch_rows(*build_count_query(query, bucket_us, self.query_conditions)))

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """Return all deliveries of a message, or None without this message. Raises StoreError."""
        rows = self.fetch_rows(MESSAGE, {"id": message_id})
        if not rows:
            return None
        deliveries = self.fetch_rows(DELIVERIES, {"id": message_id})
        return DeliveryHistory(message_from_row(rows[0]), tuple(Delivery(*row) for row in deliveries))


def message_from_row(row: Sequence[Any]) -> StoredMessage:
    """Build a message from MESSAGE_COLUMNS. The body has the NUL that PostgreSQL cannot store in a text column."""
    message_id, account, kind, devices, text, request_id, *others = row
    if REPLACEMENT_CHARACTER in (text or "") or REPLACEMENT_CHARACTER in (request_id or ""):
        callback = reparse(kind, row[BODY_COLUMN])
        text, request_id = callback.text, callback.request_id
    parsed_devices = tuple(Device(*entry) for entry in json.loads(devices))
    return StoredMessage(message_id, account, kind, parsed_devices, text, request_id, *others)


def entry_from_row(row: Sequence[Any]) -> OutboxEntry:
    """Build an entry from DELIVERY_COLUMNS and MESSAGE_COLUMNS."""
    return OutboxEntry(message_from_row(row[DELIVERY_COLUMN_COUNT:]), Delivery(*row[:DELIVERY_COLUMN_COUNT]))
