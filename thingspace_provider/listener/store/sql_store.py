"""Parts of a store and its outbox that are equal in SQLite and PostgreSQL."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from thingspace_provider.listener.callback_parser import reparse
from thingspace_provider.listener.model import (
    DEAD_LETTER,
    DISCARDED,
    PENDING,
    Delivery,
    DeliveryHistory,
    Device,
    MessageQuery,
    StoredMessage,
)
from thingspace_provider.listener.store.base import Backlog, OutboxEntry
from thingspace_provider.listener.store.query_sql import (
    BACKLOGS,
    DEAD_LETTERS,
    DELIVERIES,
    DELIVERY_COLUMN_COUNT,
    MESSAGE,
    build_query,
)

STATE_CHANGE_BATCH_SIZE = 1000  # entries in one transaction, so that no append is delayed
BATCH_INTERVAL_SECONDS = 0.001  # lets waiting appends get the lock
REPLACEMENT_CHARACTER = "\ufffd"


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

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """Return all deliveries of a message, or None without this message. Raises StoreError."""
        rows = self.fetch_rows(MESSAGE, {"id": message_id})
        if not rows:
            return None
        deliveries = self.fetch_rows(DELIVERIES, {"id": message_id})
        return DeliveryHistory(message_from_row(rows[0]), tuple(Delivery(*row) for row in deliveries))


class SqlStore:
    """Messages of a store. See `base.Store` for the methods."""

    _reader: SqlReader

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Return the messages of a query."""
        return self._reader.find(query)

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """Return all deliveries of a message."""
        return self._reader.delivery_history(message_id)


class SqlOutbox(ABC):
    """Dead letters and backlogs of an outbox. See `base.Outbox` for the methods."""

    def __init__(self, reader: SqlReader, sinks: Sequence[str]) -> None:
        self._reader = reader
        self._sinks = list(sinks)

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[OutboxEntry]:
        """Return dead letters, oldest first."""
        rows = self._reader.fetch_rows(DEAD_LETTERS, {"sink": sink, "after": after, "limit": limit})
        return [entry_from_row(row) for row in rows]

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Make dead letters pending again."""
        return self._change_states(sink, ids, DEAD_LETTER, PENDING)

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, include_pending: bool = False) -> int:
        """Discard dead letters, and pending entries if requested."""
        states = [DEAD_LETTER, PENDING] if include_pending else [DEAD_LETTER]
        return sum(self._change_states(sink, ids, state, DISCARDED) for state in states)

    def backlogs(self) -> list[Backlog]:
        """Return the backlog of each sink."""
        backlogs = {sink: Backlog(sink, 0, None, 0) for sink in self._sinks}
        backlogs |= {row[0]: Backlog(*row) for row in self._reader.fetch_rows(BACKLOGS, {})}
        return list(backlogs.values())

    def _change_states(self, sink: str, ids: Sequence[int] | None, from_state: str, to_state: str) -> int:
        values = {
            "sink": sink,
            "ids": None if ids is None else list(ids),
            "from_state": from_state,
            "to_state": to_state,
            "limit": STATE_CHANGE_BATCH_SIZE,
        }
        total = count = self._change_state(values)
        while count == STATE_CHANGE_BATCH_SIZE:
            time.sleep(BATCH_INTERVAL_SECONDS)
            total += (count := self._change_state(values))
        return total

    @abstractmethod
    def _change_state(self, values: dict[str, Any]) -> int:
        """Change the state of at most `limit` entries of `sink` in one transaction, and return their number.

        `ids` are message ids, or None for all entries in `from_state`.
        """


def message_from_row(row: Sequence[Any]) -> StoredMessage:
    """Build a message from MESSAGE_COLUMNS. The body has the NUL that PostgreSQL cannot store in a text column."""
    message_id, account, kind, devices, text, request_id, received_at, stored_at, duplicate_of, body = row
    if REPLACEMENT_CHARACTER in (text or "") or REPLACEMENT_CHARACTER in (request_id or ""):
        callback = reparse(kind, body)
        text, request_id = callback.text, callback.request_id
    parsed_devices = tuple(Device(*entry) for entry in json.loads(devices))
    return StoredMessage(
        message_id, account, kind, parsed_devices, text, request_id, received_at, stored_at, duplicate_of, body
    )


def entry_from_row(row: Sequence[Any]) -> OutboxEntry:
    """Build an entry from DELIVERY_COLUMNS and MESSAGE_COLUMNS."""
    return OutboxEntry(message_from_row(row[DELIVERY_COLUMN_COUNT:]), Delivery(*row[:DELIVERY_COLUMN_COUNT]))
