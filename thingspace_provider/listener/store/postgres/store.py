"""The store in a PostgreSQL database, for several listeners at once: each appends, reads and forwards.

A pooler in between must pool sessions, not transactions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    CONNECT_TIMEOUT_SECONDS,
    GRACE_SECONDS,
    INDEX_SCANS_ONLY,
    ConnectionPool,
    check_session_pooling,
    error_text,
)
from thingspace_provider.listener.store.postgres.coordination import PostgresCoordination
from thingspace_provider.listener.store.postgres.outbox import DELIVERY_COLUMNS, PostgresOutbox
from thingspace_provider.listener.store.postgres.reader import find_messages, message_from_row
from thingspace_provider.listener.store.postgres.schema import migrate
from thingspace_provider.listener.store.query_sql import MESSAGE_COLUMNS, fold_ascii_case, replace_nul

OPEN_TIMEOUT_SECONDS = 30  # others may be making the schema
APPEND_TIMEOUT_SECONDS = 1.0  # ThingSpace waits for 2 seconds
BACKGROUND_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 10.0
APPEND = "SELECT thingspace.append(%(batch)s::json, %(sinks)s::text[])"
SELECT_MESSAGE = f"SELECT {MESSAGE_COLUMNS} FROM thingspace.callbacks WHERE id = %(id)s"  # noqa: S608  names only
SELECT_DELIVERIES = f"SELECT {DELIVERY_COLUMNS} FROM thingspace.outbox WHERE callback = %(id)s ORDER BY sink"  # noqa: S608  names only
PURGE = """
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
    """Opens the database, and makes what it lacks. Raises StoreUnusable; no text says the password.

    Args:
        append_timeout_seconds: of one append.
        connect_timeout_seconds: of a connection attempt.
        grace_seconds: from a statement timeout, which the server reports, to the end of the connection.
    """

    max_batch_size = 500  # some 50 ms: far from the timeout of an append, which would reject all of them

    def __init__(
        self,
        url: str,
        masked_url: str,
        sinks: Sequence[str] = (),
        *,
        append_timeout_seconds: float = APPEND_TIMEOUT_SECONDS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        def pool(timeout_seconds: float, parameters: Mapping[str, str]) -> ConnectionPool:
            return ConnectionPool(url, timeout_seconds, parameters, connect_timeout_seconds, grace_seconds)

        _migrate(pool(OPEN_TIMEOUT_SECONDS, {}), masked_url)
        self._writer = pool(append_timeout_seconds, INDEX_SCANS_ONLY)
        self._background = pool(BACKGROUND_TIMEOUT_SECONDS, INDEX_SCANS_ONLY)
        self._readers = pool(READ_TIMEOUT_SECONDS, {})
        self.outbox = PostgresOutbox(self._background, sinks)
        self.coordination = PostgresCoordination(self._background)

    def append(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all or none: one statement, one commit, one sync of the server's disk."""
        batch = json.dumps([_to_row(incoming) for incoming in callbacks])
        self._writer.fetch_rows(APPEND, {"batch": batch, "sinks": self.outbox.sinks})

    def check_writable(self) -> None:
        """Write the one row that is there for this."""
        self._writer.fetch_rows("UPDATE thingspace.proof SET written = written + 1")

    def run_maintenance(self) -> None:
        """The server does that."""

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage."""
        return find_messages(self._readers, query)

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """One callback and what became of it."""
        rows = self._readers.fetch_rows(SELECT_MESSAGE, {"id": message_id})
        if not rows:
            return None
        deliveries = self._readers.fetch_rows(SELECT_DELIVERIES, {"id": message_id})
        return DeliveryHistory(message_from_row(rows[0]), tuple(Delivery(*row) for row in deliveries))

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Remove what is old and owed to nobody."""
        received, message_id = after
        values = {"before": received_before, "limit": limit, "received": received, "id": message_id}
        examined = self._background.fetch_rows(PURGE, values)
        return PurgeResult(examined[0][0] if examined else 0, examined[-1][1:] if len(examined) == limit else None)

    def close(self) -> None:
        """Close every connection."""
        self._writer.close()
        self._background.close()
        self._readers.close()


def _migrate(pool: ConnectionPool, masked_url: str) -> None:
    try:
        with pool.open_session() as session, pool.open_session() as other:
            check_session_pooling(session, other)
            migrate(session)
    except psycopg.ProgrammingError as error:
        # What the driver says of an address that it cannot read repeats the address; a server's refusal has a code.
        detail = error_text(error) if error.sqlstate else "the address is not a PostgreSQL URL that libpq can read"
        raise StoreOpenError(f"{masked_url} cannot be used as a store: {detail}") from None
    except psycopg.Error as error:
        raise StoreOpenError(f"{masked_url} cannot be used as a store: {error_text(error)}") from None
    except StoreOpenError as error:
        raise StoreOpenError(f"{masked_url} cannot be used as a store: {error}") from None


def _to_row(incoming: IncomingCallback) -> dict[str, Any]:
    """An element of what the function `append` takes."""
    callback, key = incoming.callback, dedup_key(incoming)
    identity = ("request", incoming.account, key) if key else ("window", *window_key(incoming))
    return {
        "account": incoming.account,
        "kind": callback.kind,
        "devices": json.dumps(callback.devices, ensure_ascii=False),
        "named": sorted({fold_ascii_case(device.id) for device in callback.devices}),
        "text": callback.text and replace_nul(callback.text),
        "request_id": callback.request_id and replace_nul(callback.request_id),
        "same": blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
        "span": None if key else WINDOW_US,
        "received": incoming.received_at,
        "raw": callback.body.hex(),
        "lane": ordering_key(incoming),
        "repeats": incoming.duplicate_of,
    }
