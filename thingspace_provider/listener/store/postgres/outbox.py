"""What each sink must still get, in the PostgreSQL store. See `lanes.py` for what is kept true."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from thingspace_provider.listener.store.base import (
    DEAD,
    DISCARDED,
    SERVED_SECONDS,
    WAITING,
    Backlog,
    Claim,
    Delivery,
    Outcome,
    Parcel,
)
from thingspace_provider.listener.store.ordering import changes
from thingspace_provider.listener.store.postgres.connections import Links
from thingspace_provider.listener.store.postgres.reader import stored_of
from thingspace_provider.listener.store.query_sql import COLUMNS, without_nul

SETTLED_AT_ONCE = 1000  # dead letters in one transaction, so that the carrier's answers are not delayed
DELIVERY = "sink, state, attempts, reason, changed, due"
DELIVERY_COLUMNS = 6
# What another replica is just taking is passed over. Only the head has to be locked: who has it has its lane.
TAKE = f"""
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
PARCELS = f"""
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
REPORT = "SELECT thingspace.report(%(sink)s, %(token)s::bigint, %(changes)s::json, %(lanes)s::bigint[])"
SERVE = """
INSERT INTO thingspace.notes VALUES (%(name)s, thingspace.now())
ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""
SERVED = """
SELECT EXISTS (SELECT FROM thingspace.notes WHERE name = %(name)s AND number > thingspace.now() - %(span)s)
"""
MOVE = "SELECT thingspace.move(%(sink)s, %(wanted)s::bigint[], %(old)s, %(new)s, %(most)s)"


class PostgresOutbox:
    """Takes for sinks, in competition with other replicas."""

    def __init__(self, links: Links, sinks: Sequence[str]) -> None:
        self._links = links
        self.sinks = list(sinks)

    def take(self, sink: str, limit: int, *, lease: float, run: int = 1) -> Claim:
        """Take what is due and nobody has."""
        token = secrets.randbits(62)
        values = {"sink": sink, "limit": limit, "run": run, "token": token, "lease": int(lease * 1_000_000)}
        runs: dict[int, list[Parcel]] = {}
        lanes: dict[int, int] = {}
        for head, lane, *row in self._links.rows(TAKE, values):
            runs.setdefault(head, []).append(_parcel(row))
            lanes[head] = lane
        ordered = [tuple(sorted(runs[head], key=lambda parcel: parcel.stored.id)) for head in sorted(runs)]
        return Claim(sink, tuple(ordered), token, tuple(lanes[head] for head in sorted(runs)))

    def report(self, claim: Claim, outcomes: Sequence[Outcome]) -> None:
        """Note what became of a claim."""
        made = [change._asdict() for change in changes(claim, outcomes)]
        for change in made:
            change["reason"] = change["reason"] and without_nul(change["reason"])
        values = {"sink": claim.sink, "token": claim.token, "changes": json.dumps(made), "lanes": list(claim.lanes)}
        self._links.rows(REPORT, values)

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[Parcel]:
        """Given up for a sink, oldest first."""
        return [_parcel(row) for row in self._links.rows(PARCELS, {"sink": sink, "after": after, "limit": limit})]

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Let dead letters wait again."""
        return self._move(sink, ids, DEAD, WAITING)

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, waiting: bool = False) -> int:
        """Give up for good."""
        states = [DEAD, WAITING] if waiting else [DEAD]
        return sum(self._move(sink, ids, state, DISCARDED) for state in states)

    def serve(self, sink: str) -> None:
        """Note by the server's clock that the sink is named."""
        self._links.rows(SERVE, {"name": f"serves {sink}"})

    def is_served(self, sink: str) -> bool:
        """Whether a replica names it."""
        values = {"name": f"serves {sink}", "span": int(SERVED_SECONDS * 1_000_000)}
        return sink in self.sinks or self._links.rows(SERVED, values) == [(True,)]

    def backlogs(self) -> list[Backlog]:
        """One for each sink that is named or must still get something."""
        counted = {sink: Backlog(sink, 0, None, 0) for sink in self.sinks}
        counted |= {row[0]: Backlog(*row) for row in self._links.rows(BACKLOGS)}
        return list(counted.values())

    def _move(self, sink: str, ids: Sequence[int] | None, old: str, new: str) -> int:
        """From one state to another, a part at a time; in between, others get their turn."""
        wanted = None if ids is None else list(ids)
        values = {"sink": sink, "wanted": wanted, "old": old, "new": new, "most": SETTLED_AT_ONCE}
        counts = [SETTLED_AT_ONCE]
        while counts[-1] == SETTLED_AT_ONCE:
            counts += [count for (count,) in self._links.rows(MOVE, values)]
        return sum(counts[1:])


def _parcel(row: Sequence[Any]) -> Parcel:
    return Parcel(stored_of(tuple(row[DELIVERY_COLUMNS:])), Delivery(*row[:DELIVERY_COLUMNS]))
