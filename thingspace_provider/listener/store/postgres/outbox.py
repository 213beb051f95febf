"""Outbox of the PostgreSQL store. See `ordering.py` for its invariant."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from thingspace_provider.listener.model import OutboxEntry
from thingspace_provider.listener.store.base import (
    HEARTBEAT_TIMEOUT_SECONDS,
    STATE_CHANGE_BATCH_SIZE,
    Lease,
    Outbox,
    Outcome,
)
from thingspace_provider.listener.store.ordering import entry_updates
from thingspace_provider.listener.store.postgres.connections import ConnectionPool
from thingspace_provider.listener.store.postgres.reader import PostgresReader
from thingspace_provider.listener.store.query_sql import DELIVERY_COLUMNS, MESSAGE_COLUMNS, replace_nul
from thingspace_provider.listener.store.reader import entry_from_row

# Skips entries that another replica is leasing. The lock of an active entry also protects the others of its key.
LEASE = f"""
WITH due AS MATERIALIZED (
    SELECT message_id, ordering_key FROM thingspace.outbox
    WHERE sink = %(sink)s AND next_attempt_at <= thingspace.statement_time()
    ORDER BY next_attempt_at, message_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), entries AS MATERIALIZED (
    SELECT next.message_id, due.message_id AS first_id FROM due CROSS JOIN LATERAL (
        SELECT message_id FROM thingspace.outbox
        WHERE sink = %(sink)s AND ordering_key = due.ordering_key AND state = 'pending'
        AND message_id >= due.message_id
        ORDER BY message_id
        LIMIT greatest(
            1, least(%(batch_size)s, %(limit)s / (SELECT greatest(1, count(*)) FROM due)))  -- glossary: allow
    ) AS next
)
UPDATE thingspace.outbox SET lease_token = %(token)s, next_attempt_at = CASE
    WHEN next_attempt_at IS NOT NULL THEN thingspace.statement_time() + %(lease_us)s END
FROM entries JOIN thingspace.messages ON id = entries.message_id
WHERE outbox.message_id = entries.message_id AND sink = %(sink)s
RETURNING first_id, ordering_key, {DELIVERY_COLUMNS}, {MESSAGE_COLUMNS}
"""  # noqa: S608  names only
RECORD_OUTCOMES = """
SELECT thingspace.record_outcomes(%(sink)s, %(token)s::bigint, %(updates)s::json, %(ordering_keys)s::bigint[])
"""
HEARTBEAT = """
INSERT INTO thingspace.coordination VALUES (%(name)s, thingspace.clock_time())
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
HAS_HEARTBEAT = """
SELECT EXISTS (
    SELECT FROM thingspace.coordination WHERE name = %(name)s AND value > thingspace.clock_time() - %(timeout_us)s)
"""
CHANGE_STATE = "SELECT thingspace.change_state(%(sink)s, %(ids)s::bigint[], %(from)s, %(to)s, %(limit)s)"


class PostgresOutbox(Outbox):
    """Outbox that replicas share."""

    def __init__(self, pool: ConnectionPool, sinks: Sequence[str]) -> None:
        super().__init__(PostgresReader(pool), sinks)
        self._pool = pool

    def acquire(self, sink: str, limit: int, *, lease_seconds: float, batch_size: int = 1) -> Lease:
        """Lease due entries."""
        token = secrets.randbits(62)
        lease_us = int(lease_seconds * 1_000_000)
        values = {"sink": sink, "limit": limit, "batch_size": batch_size, "token": token, "lease_us": lease_us}
        batches: dict[int, list[OutboxEntry]] = {}
        ordering_keys: dict[int, int] = {}
        for first_id, ordering_key, *row in self._pool.fetch_rows(LEASE, values):
            batches.setdefault(first_id, []).append(entry_from_row(row))
            ordering_keys[first_id] = ordering_key
        ordered = [tuple(sorted(batches[first_id], key=lambda entry: entry.message.id)) for first_id in sorted(batches)]
        return Lease(sink, tuple(ordered), token, tuple(ordering_keys[first_id] for first_id in sorted(batches)))

    def record_outcomes(self, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes of a lease."""
        updates = [update._asdict() for update in entry_updates(lease, outcomes)]
        for update in updates:
            update["last_error"] = update["last_error"] and replace_nul(update["last_error"])
        values = {
            "sink": lease.sink,
            "token": lease.token,
            "updates": json.dumps(updates),
            "ordering_keys": list(lease.ordering_keys),
        }
        self._pool.fetch_rows(RECORD_OUTCOMES, values)

    def heartbeat(self, sink: str) -> None:
        """Record that this replica has the sink, by the clock of the server."""
        self._pool.fetch_rows(HEARTBEAT, {"name": f"heartbeat {sink}"})

    def has_active_listener(self, sink: str) -> bool:
        """Return whether a replica has the sink."""
        values = {"name": f"heartbeat {sink}", "timeout_us": int(HEARTBEAT_TIMEOUT_SECONDS * 1_000_000)}
        return super().has_active_listener(sink) or self._pool.fetch_rows(HAS_HEARTBEAT, values) == [(True,)]

    def _change_state(self, sink: str, ids: list[int] | None, from_state: str, to_state: str) -> int:
        values = {"sink": sink, "ids": ids, "from": from_state, "to": to_state, "limit": STATE_CHANGE_BATCH_SIZE}
        [(count,)] = self._pool.fetch_rows(CHANGE_STATE, values)
        return int(count)
