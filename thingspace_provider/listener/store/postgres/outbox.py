"""What each sink must still get, in the PostgreSQL store. See `lanes.py` for what is kept true."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from thingspace_provider.listener.store.base import (
    DEAD_LETTER,
    DISCARDED,
    HEARTBEAT_TIMEOUT_SECONDS,
    PENDING,
    Backlog,
    Delivery,
    Lease,
    OutboxEntry,
    Outcome,
)
from thingspace_provider.listener.store.ordering import entry_updates
from thingspace_provider.listener.store.postgres.connections import ConnectionPool
from thingspace_provider.listener.store.postgres.reader import message_from_row
from thingspace_provider.listener.store.query_sql import MESSAGE_COLUMNS, replace_nul

STATE_CHANGE_BATCH_SIZE = 1000  # dead letters in one transaction, so that the carrier's answers are not delayed
DELIVERY_COLUMNS = "sink, state, attempts, reason, changed, due"
DELIVERY_COLUMN_COUNT = 6
# What another replica is just taking is passed over. Only the head has to be locked: who has it has its lane.
LEASE = f"""
WITH heads AS MATERIALIZED (
    SELECT callback, lane FROM thingspace.outbox WHERE sink = %(sink)s AND due <= thingspace.asked()
    ORDER BY due, callback LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), parcels AS MATERIALIZED (
    SELECT next.callback, heads.callback AS head FROM heads CROSS JOIN LATERAL (
        SELECT callback FROM thingspace.outbox
        WHERE sink = %(sink)s AND lane = heads.lane AND state = 'waiting' AND callback >= heads.callback
        ORDER BY callback LIMIT greatest(1, least(%(run)s, %(limit)s / (SELECT greatest(1, count(*)) FROM heads)))
    ) AS next
)
UPDATE thingspace.outbox SET taken = %(token)s, due = CASE WHEN due IS NOT NULL THEN thingspace.asked() + %(lease)s END
FROM parcels JOIN thingspace.callbacks ON id = parcels.callback
WHERE outbox.callback = parcels.callback AND sink = %(sink)s
RETURNING head, lane, {DELIVERY_COLUMNS}, {MESSAGE_COLUMNS}
"""  # noqa: S608  names only
ENTRIES = f"""
SELECT {DELIVERY_COLUMNS}, {MESSAGE_COLUMNS} FROM thingspace.outbox JOIN thingspace.callbacks ON id = callback
WHERE sink = %(sink)s AND state = 'dead' AND callback > %(after)s ORDER BY callback LIMIT %(limit)s
"""  # noqa: S608  names only
BACKLOGS = """
SELECT sink, waiting, (SELECT received FROM thingspace.callbacks WHERE id = oldest), dead FROM (
    SELECT sink, sum(waiting)::bigint AS waiting, min(oldest) AS oldest, sum(dead)::bigint AS dead FROM (
        SELECT sink, count(*) AS waiting, min(callback) AS oldest, 0 AS dead
        FROM thingspace.outbox WHERE state = 'waiting' GROUP BY sink
        UNION ALL
        SELECT sink, 0, NULL, count(*) FROM thingspace.outbox WHERE state = 'dead' GROUP BY sink
    ) AS counted GROUP BY sink
) AS summed
"""
RECORD_OUTCOMES = "SELECT thingspace.report(%(sink)s, %(token)s::bigint, %(changes)s::json, %(lanes)s::bigint[])"
HEARTBEAT = """
INSERT INTO thingspace.notes VALUES (%(name)s, thingspace.now())
ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""
HAS_HEARTBEAT = """
SELECT EXISTS (SELECT FROM thingspace.notes WHERE name = %(name)s AND number > thingspace.now() - %(span)s)
"""
CHANGE_STATE = "SELECT thingspace.move(%(sink)s, %(wanted)s::bigint[], %(old)s, %(new)s, %(most)s)"


class PostgresOutbox:
    """Takes for sinks, in competition with other replicas."""

    def __init__(self, pool: ConnectionPool, sinks: Sequence[str]) -> None:
        self._pool = pool
        self.sinks = list(sinks)

    def acquire(self, sink: str, limit: int, *, lease_seconds: float, batch_size: int = 1) -> Lease:
        """Take what is due and nobody has."""
        token = secrets.randbits(62)
        values = {
            "sink": sink,
            "limit": limit,
            "run": batch_size,
            "token": token,
            "lease": int(lease_seconds * 1_000_000),
        }
        batches: dict[int, list[OutboxEntry]] = {}
        ordering_keys: dict[int, int] = {}
        for head, ordering_key, *row in self._pool.fetch_rows(LEASE, values):
            batches.setdefault(head, []).append(_entry_from_row(row))
            ordering_keys[head] = ordering_key
        ordered = [tuple(sorted(batches[head], key=lambda entry: entry.message.id)) for head in sorted(batches)]
        return Lease(sink, tuple(ordered), token, tuple(ordering_keys[head] for head in sorted(batches)))

    def record_outcomes(self, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Note what became of a claim."""
        updates = [change._asdict() for change in entry_updates(lease, outcomes)]
        for change in updates:
            change["reason"] = change["reason"] and replace_nul(change["reason"])
        values = {
            "sink": lease.sink,
            "token": lease.token,
            "changes": json.dumps(updates),
            "lanes": list(lease.ordering_keys),
        }
        self._pool.fetch_rows(RECORD_OUTCOMES, values)

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[OutboxEntry]:
        """Given up for a sink, oldest first."""
        return [
            _entry_from_row(row)
            for row in self._pool.fetch_rows(ENTRIES, {"sink": sink, "after": after, "limit": limit})
        ]

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Let dead letters wait again."""
        return self._change_state(sink, ids, DEAD_LETTER, PENDING)

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, include_pending: bool = False) -> int:
        """Give up for good."""
        states = [DEAD_LETTER, PENDING] if include_pending else [DEAD_LETTER]
        return sum(self._change_state(sink, ids, state, DISCARDED) for state in states)

    def heartbeat(self, sink: str) -> None:
        """Note by the server's clock that the sink is named."""
        self._pool.fetch_rows(HEARTBEAT, {"name": f"serves {sink}"})

    def has_active_listener(self, sink: str) -> bool:
        """Whether a replica names it."""
        values = {"name": f"serves {sink}", "span": int(HEARTBEAT_TIMEOUT_SECONDS * 1_000_000)}
        return sink in self.sinks or self._pool.fetch_rows(HAS_HEARTBEAT, values) == [(True,)]

    def backlogs(self) -> list[Backlog]:
        """One for each sink that is named or must still get something."""
        counted = {sink: Backlog(sink, 0, None, 0) for sink in self.sinks}
        counted |= {row[0]: Backlog(*row) for row in self._pool.fetch_rows(BACKLOGS)}
        return list(counted.values())

    def _change_state(self, sink: str, ids: Sequence[int] | None, from_state: str, to_state: str) -> int:
        """From one state to another, a part at a time; in between, others get their turn."""
        selected_ids = None if ids is None else list(ids)
        values = {
            "sink": sink,
            "wanted": selected_ids,
            "old": from_state,
            "new": to_state,
            "most": STATE_CHANGE_BATCH_SIZE,
        }
        counts = [STATE_CHANGE_BATCH_SIZE]
        while counts[-1] == STATE_CHANGE_BATCH_SIZE:
            counts += [count for (count,) in self._pool.fetch_rows(CHANGE_STATE, values)]
        return sum(counts[1:])


def _entry_from_row(row: Sequence[Any]) -> OutboxEntry:
    return OutboxEntry(message_from_row(tuple(row[DELIVERY_COLUMN_COUNT:])), Delivery(*row[:DELIVERY_COLUMN_COUNT]))
