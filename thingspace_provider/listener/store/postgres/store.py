"""Store in a PostgreSQL database. Several listeners can use it at once, as replicas.

A pooler in between must pool sessions, not transactions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import psycopg

from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.base import PurgeResult, Store, StoreError, StoreOpenError
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
from thingspace_provider.listener.store.postgres.outbox import PostgresOutbox
from thingspace_provider.listener.store.postgres.reader import PostgresReader
from thingspace_provider.listener.store.postgres.schema import migrate
from thingspace_provider.listener.store.query_sql import fold_ascii_case, replace_nul

OPEN_TIMEOUT_SECONDS = 30  # replicas may be creating the schema
APPEND_TIMEOUT_SECONDS = 1.0  # ThingSpace waits for 2 seconds
BACKGROUND_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 10.0
# The condition comes first: without the required standby, nothing is stored and no row returned.
APPEND = """SELECT thingspace.append(%(batch)s::json, %(sinks)s::text[])
WHERE NOT %(require_standby)s OR current_setting('synchronous_standby_names') <> ''"""
CHECK_WRITABLE = """
UPDATE thingspace.write_check SET writes = writes + 1
WHERE NOT %(require_standby)s OR current_setting('synchronous_standby_names') <> '' RETURNING 1
"""
NO_SYNCHRONOUS_STANDBY = (
    "this PostgreSQL server has no synchronous standby, and requireSynchronousStandby is true: set "
    "synchronous_standby_names on the primary"
)
PURGE = """
WITH candidates AS MATERIALIZED (
    SELECT received_at, id, EXISTS (
        SELECT FROM thingspace.outbox WHERE message_id = id AND state IN ('pending', 'dead_letter')) AS is_needed
    FROM thingspace.messages WHERE (received_at, id) > (%(received_at)s, %(id)s) AND received_at < %(before)s
    ORDER BY received_at, id LIMIT %(limit)s
), purged_entries AS (
    DELETE FROM thingspace.outbox USING candidates WHERE message_id = id AND NOT is_needed
), purged AS (
    DELETE FROM thingspace.messages USING candidates WHERE messages.id = candidates.id AND NOT is_needed
    RETURNING messages.id
)
SELECT (SELECT count(*) FROM purged), received_at, id FROM candidates ORDER BY received_at, id
"""


class PostgresStore(Store):
    """Opens the database and creates its schema. Raises StoreOpenError, whose message has no password.

    Args:
        append_timeout_seconds: of one append.
        connect_timeout_seconds: of a connection attempt.
        grace_seconds: from a statement timeout, which the server reports, to the end of the connection.
        require_synchronous_standby: store only while the server is configured to wait for a standby.
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
        require_synchronous_standby: bool = False,
    ) -> None:
        def pool(timeout_seconds: float, parameters: Mapping[str, str]) -> ConnectionPool:
            return ConnectionPool(url, timeout_seconds, parameters, connect_timeout_seconds, grace_seconds)

        _migrate(pool(OPEN_TIMEOUT_SECONDS, {}), masked_url, require_synchronous_standby=require_synchronous_standby)
        self._writer = pool(append_timeout_seconds, INDEX_SCANS_ONLY)
        self._background = pool(BACKGROUND_TIMEOUT_SECONDS, INDEX_SCANS_ONLY)
        self._readers = pool(READ_TIMEOUT_SECONDS, {})
        self._reader = PostgresReader(self._readers)
        self._sinks = list(sinks)
        self._require_synchronous_standby = require_synchronous_standby
        self.outbox = PostgresOutbox(self._background, sinks)
        self.coordination = PostgresCoordination(self._background)

    def append(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all callbacks or none, with one statement and one sync of the server's disk."""
        batch = json.dumps([_to_row(incoming) for incoming in callbacks])
        values = {"batch": batch, "sinks": self._sinks, "require_standby": self._require_synchronous_standby}
        if not self._writer.fetch_rows(APPEND, values):
            raise StoreError(NO_SYNCHRONOUS_STANDBY)

    def check_writable(self) -> None:
        """Commit a write to a table of its own."""
        if not self._writer.fetch_rows(CHECK_WRITABLE, {"require_standby": self._require_synchronous_standby}):
            raise StoreError(NO_SYNCHRONOUS_STANDBY)

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Remove old messages."""
        received_at, message_id = after
        values = {"before": received_before, "limit": limit, "received_at": received_at, "id": message_id}
        candidates = self._background.fetch_rows(PURGE, values)
        return PurgeResult(
            candidates[0][0] if candidates else 0, candidates[-1][1:] if len(candidates) == limit else None
        )

    def close(self) -> None:
        """Close every connection."""
        self._writer.close()
        self._background.close()
        self._readers.close()


def _migrate(pool: ConnectionPool, masked_url: str, *, require_synchronous_standby: bool) -> None:
    try:
        with pool.open_session() as session, pool.open_session() as other:
            check_session_pooling(session, other)
            if require_synchronous_standby:
                _check_standby(session)
            migrate(session)
    except psycopg.ProgrammingError as error:
        # The driver quotes a URL that it cannot parse; only errors of the server have a code.
        detail = error_text(error) if error.sqlstate else "the address is not a PostgreSQL URL that libpq can read"
        raise StoreOpenError(f"{masked_url} cannot be used as a store: {detail}") from None
    except psycopg.Error as error:
        raise StoreOpenError(f"{masked_url} cannot be used as a store: {error_text(error)}") from None
    except StoreOpenError as error:
        raise StoreOpenError(f"{masked_url} cannot be used as a store: {error}") from None


def _check_standby(session: psycopg.Connection[Any]) -> None:
    if session.execute("SELECT current_setting('synchronous_standby_names')").fetchone() == ("",):
        raise StoreOpenError(NO_SYNCHRONOUS_STANDBY)


def _to_row(incoming: IncomingCallback) -> dict[str, Any]:
    """Build an element of the batch of the function `append`."""
    callback, key = incoming.callback, dedup_key(incoming)
    identity = ("request", incoming.account, key) if key else ("window", *window_key(incoming))
    return {
        "account": incoming.account,
        "kind": callback.kind,
        "devices": json.dumps(callback.devices, ensure_ascii=False),
        "device_ids": sorted({fold_ascii_case(device.id) for device in callback.devices}),
        "text": callback.text and replace_nul(callback.text),
        "request_id": callback.request_id and replace_nul(callback.request_id),
        "dedup_key": blake2b(repr(identity).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
        "dedup_window_us": None if key else WINDOW_US,
        "received_at": incoming.received_at,
        "body": callback.body.hex(),
        "ordering_key": ordering_key(incoming),
        "duplicate_of": incoming.duplicate_of,
        "trace_context": incoming.trace_context,
    }
