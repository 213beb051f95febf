"""What each sink must still get, in the PostgreSQL store. See `lanes.py` for what is kept true."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from thingspace_provider.listener.store.base import (
    DEAD,
    DISCARDED,
    HEARTBEAT_TIMEOUT_SECONDS,
    WAITING,
    Backlog,
    Delivery,
    Lease,
    OutboxEntry,
    Outcome,
)
from thingspace_provider.listener.store.ordering import entry_updates
from thingspace_provider.listener.store.postgres.connections import ConnectionPool
from thingspace_provider.listener.store.postgres.reader import message_from_row
from thingspace_provider.listener.store.query_sql import COLUMNS, replace_nul

STATE_CHANGE_BATCH_SIZE = 1000  # dead letters in one transaction, so that the carrier's answers are not delayed
DELIVERY = "sink, state, attempts, reason, changed, due"
DELIVERY_COLUMNS = 6
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
RETURNING head, lane, {DELIVERY}, {COLUMNS}
"""  # noqa: S608  names only
ENTRIES = f"""
SELECT {DELIVERY}, {COLUMNS} FROM thingspace.outbox JOIN thingspace.callbacks ON id = callback
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

    def __init__(self, links: ConnectionPool, sinks: Sequence[str]) -> None:
        self._links = links
        self.sinks = list(sinks)

    def acquire(self, sink: str, limit: int, *, lease: float, run: int = 1) -> Lease:
        """Take what is due and nobody has."""
        token = secrets.randbits(62)
        values = {"sink": sink, "limit": limit, "run": run, "token": token, "lease": int(lease * 1_000_000)}
        runs: dict[int, list[OutboxEntry]] = {}
        lanes: dict[int, int] = {}
        for head, lane, *row in self._links.rows(LEASE, values):
            runs.setdefault(head, []).append(_entry_from_row(row))
            lanes[head] = lane
        ordered = [tuple(sorted(runs[head], key=lambda parcel: parcel.stored.id)) for head in sorted(runs)]
        return Lease(sink, tuple(ordered), token, tuple(lanes[head] for head in sorted(runs)))

    def record_outcomes(self, claim: Lease, outcomes: Sequence[Outcome]) -> None:
        """Note what became of a claim."""
        made = [change._asdict() for change in entry_updates(claim, outcomes)]
        for change in made:
            change["reason"] = change["reason"] and replace_nul(change["reason"])
        values = {
            "sink": claim.sink,
            "token": claim.token,
            "changes": json.dumps(made),
            "lanes": list(claim.ordering_keys),
        }
        self._links.rows(RECORD_OUTCOMES, values)

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[OutboxEntry]:
        """Given up for a sink, oldest first."""
        return [
            _entry_from_row(row) for row in self._links.rows(ENTRIES, {"sink": sink, "after": after, "limit": limit})
        ]

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Let dead letters wait again."""
        return self._move(sink, ids, DEAD, WAITING)

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, waiting: bool = False) -> int:
        """Give up for good."""
        states = [DEAD, WAITING] if waiting else [DEAD]
        return sum(self._move(sink, ids, state, DISCARDED) for state in states)

    def heartbeat(self, sink: str) -> None:
        """Note by the server's clock that the sink is named."""
        self._links.rows(HEARTBEAT, {"name": f"serves {sink}"})

    def has_active_listener(self, sink: str) -> bool:
        """Whether a replica names it."""
        values = {"name": f"serves {sink}", "span": int(HEARTBEAT_TIMEOUT_SECONDS * 1_000_000)}
        return sink in self.sinks or self._links.rows(HAS_HEARTBEAT, values) == [(True,)]

    def backlogs(self) -> list[Backlog]:
        """One for each sink that is named or must still get something."""
        counted = {sink: Backlog(sink, 0, None, 0) for sink in self.sinks}
        counted |= {row[0]: Backlog(*row) for row in self._links.rows(BACKLOGS)}
        return list(counted.values())

    def _move(self, sink: str, ids: Sequence[int] | None, old: str, new: str) -> int:
        """From one state to another, a part at a time; in between, others get their turn."""
        wanted = None if ids is None else list(ids)
        values = {"sink": sink, "wanted": wanted, "old": old, "new": new, "most": STATE_CHANGE_BATCH_SIZE}
        counts = [STATE_CHANGE_BATCH_SIZE]
        while counts[-1] == STATE_CHANGE_BATCH_SIZE:
            counts += [count for (count,) in self._links.rows(CHANGE_STATE, values)]
        return sum(counts[1:])


def _entry_from_row(row: Sequence[Any]) -> OutboxEntry:
    return OutboxEntry(message_from_row(tuple(row[DELIVERY_COLUMNS:])), Delivery(*row[:DELIVERY_COLUMNS]))
