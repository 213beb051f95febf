"""The store in a PostgreSQL database, for several listeners at once: each appends, reads and forwards.

Sessions are their own, so a pooler between must keep one for each connection (not "transaction pooling").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import psycopg

from thingspace_provider.listener.store.base import (
    Delivery,
    DeliveryHistory,
    IncomingCallback,
    MessageQuery,
    PurgeResult,
    StoredMessage,
    StoreOpenError,
)
from thingspace_provider.listener.store.duplicates import WINDOW_US, dedup_key, window_key
from thingspace_provider.listener.store.ordering import ordering_key
from thingspace_provider.listener.store.postgres.connections import (
    INDEX_SCANS_ONLY,
    Connection,
    ConnectionPool,
    ConnectionWatchdog,
    connect,
    error_text,
)
from thingspace_provider.listener.store.postgres.coordination import PostgresShared
from thingspace_provider.listener.store.postgres.outbox import DELIVERY, PostgresOutbox
from thingspace_provider.listener.store.postgres.reader import find_messages, message_from_row
from thingspace_provider.listener.store.postgres.schema import migrate
from thingspace_provider.listener.store.query_sql import COLUMNS, fold_ascii_case, replace_nul

OPEN_SECONDS = 30  # others may be making the schema
APPEND_SECONDS = 1.0  # the carrier waits
BACKGROUND_SECONDS = 10.0
READ_SECONDS = 10.0
APPEND = "SELECT thingspace.append(%(batch)s::json, %(sinks)s::text[])"
ONE = f"SELECT {COLUMNS} FROM thingspace.callbacks WHERE id = %(id)s"  # noqa: S608  names only
DELIVERIES = f"SELECT {DELIVERY} FROM thingspace.outbox WHERE callback = %(id)s ORDER BY sink"  # noqa: S608  names only
REMOVE = """
WITH looked_at AS MATERIALIZED (
    SELECT received, id, EXISTS (
        SELECT FROM thingspace.outbox WHERE callback = id AND state IN ('waiting', 'dead')) AS owed
    FROM thingspace.callbacks WHERE (received, id) > (%(received)s, %(id)s) AND received < %(before)s
    ORDER BY received, id LIMIT %(limit)s
), noted AS (
    DELETE FROM thingspace.outbox USING looked_at WHERE callback = id AND NOT owed
), removed AS (
    DELETE FROM thingspace.callbacks USING looked_at WHERE callbacks.id = looked_at.id AND NOT owed
    RETURNING callbacks.id
)
SELECT (SELECT count(*) FROM removed), received, id FROM looked_at ORDER BY received, id
"""


class PostgresStore:
    """Opens the database, and makes what it lacks. Raises StoreUnusable; no text says the password."""

    batch = 500  # some 50 ms: far from APPEND_SECONDS, whose end would refuse all of them

    def __init__(self, url: str, shown: str, sinks: Sequence[str] = ()) -> None:
        self._watch = ConnectionWatchdog()
        try:
            _migrate(url, shown, self._watch)
        except StoreOpenError:
            self._watch.close()
            raise
        self._writer = Connection(url, self._watch, APPEND_SECONDS, INDEX_SCANS_ONLY)
        self._background = ConnectionPool(url, self._watch, BACKGROUND_SECONDS, INDEX_SCANS_ONLY)
        self._readers = ConnectionPool(url, self._watch, READ_SECONDS)
        self.outbox = PostgresOutbox(self._background, sinks)
        self.coordination = PostgresShared(self._background)

    def append(self, arrivals: Sequence[IncomingCallback]) -> None:
        """Store all or none: one statement, one commit, one sync of the server's disk."""
        batch = json.dumps([_row(arrival) for arrival in arrivals])
        self._writer.rows(APPEND, {"batch": batch, "sinks": self.outbox.sinks})

    def check_writable(self) -> None:
        """Write the one row that is there for this."""
        self._writer.rows("UPDATE thingspace.proof SET written = written + 1")

    def run_maintenance(self) -> None:
        """The server does that."""

    def find(self, selection: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage."""
        return find_messages(self._readers, selection)

    def delivery_history(self, number: int) -> DeliveryHistory | None:
        """One callback and what became of it."""
        found = self._readers.rows(ONE, {"id": number})
        if not found:
            return None
        deliveries = self._readers.rows(DELIVERIES, {"id": number})
        return DeliveryHistory(message_from_row(found[0]), tuple(Delivery(*row) for row in deliveries))

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Remove what is old and owed to nobody."""
        received, number = after
        values = {"before": received_before, "limit": limit, "received": received, "id": number}
        looked_at = self._background.rows(REMOVE, values)
        return PurgeResult(looked_at[0][0] if looked_at else 0, looked_at[-1][1:] if len(looked_at) == limit else None)

    def close(self) -> None:
        """Close every connection."""
        self._writer.close()
        self._background.close()
        self._readers.close()
        self._watch.close()


def _migrate(url: str, shown: str, watch: ConnectionWatchdog) -> None:
    try:
        options = f"-c statement_timeout={OPEN_SECONDS * 1000}"
        with connect(url, options, watch) as connection, watch.limit(connection, OPEN_SECONDS + 1):
            migrate(connection)
    except psycopg.ProgrammingError as reason:
        # What the driver says of an address that it cannot read repeats the address; a server's refusal has a code.
        why = error_text(reason) if reason.sqlstate else "the address is not a PostgreSQL URL that libpq can read"
        raise StoreOpenError(f"{shown} cannot be used as a store: {why}") from None
    except psycopg.Error as reason:
        raise StoreOpenError(f"{shown} cannot be used as a store: {error_text(reason)}") from None
    except StoreOpenError as reason:
        raise StoreOpenError(f"{shown} cannot be used as a store: {reason}") from None


def _row(arrival: IncomingCallback) -> dict[str, Any]:
    """An element of what the function `append` takes."""
    callback, key = arrival.callback, dedup_key(arrival)
    same = ("request", arrival.account, key) if key else ("window", *window_key(arrival))
    return {
        "account": arrival.account,
        "kind": callback.kind,
        "devices": json.dumps(callback.devices, ensure_ascii=False),
        "named": sorted({fold_ascii_case(device.id) for device in callback.devices}),
        "text": callback.text and replace_nul(callback.text),
        "request_id": callback.request_id and replace_nul(callback.request_id),
        "same": blake2b(repr(same).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
        "span": None if key else WINDOW_US,
        "received": arrival.received,
        "raw": callback.raw.hex(),
        "lane": ordering_key(arrival),
        "repeats": arrival.duplicate_of,
    }
