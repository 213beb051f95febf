"""What each sink must still get, in the SQLite store. See `lanes.py` for what is kept true."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import apsw

from thingspace_provider.listener.store.base import (
    DEAD_LETTER,
    DISCARDED,
    PENDING,
    Backlog,
    Delivery,
    IncomingCallback,
    Lease,
    OutboxEntry,
    Outcome,
)
from thingspace_provider.listener.store.ordering import entry_updates, ordering_key
from thingspace_provider.listener.store.query_sql import MESSAGE_COLUMNS
from thingspace_provider.listener.store.sqlite.reader import DELIVERY_COLUMNS, Reader, message_from_row
from thingspace_provider.listener.store.sqlite.writer import Writer

STATE_CHANGE_BATCH_SIZE = 1000  # dead letters in one transaction, so that the carrier's answers are not delayed
BATCH_PAUSE_SECONDS = 0.001  # between two of these: whoever waits for its turn gets it

ENQUEUE = """
INSERT INTO outbox (callback, sink, lane, due)
SELECT row.value->>0, sink.value, row.value->>1,
       CASE WHEN row.value->>2 AND NOT EXISTS (
           SELECT 1 FROM outbox AS head
           WHERE head.sink = sink.value AND head.lane = row.value->>1 AND head.due IS NOT NULL) THEN 0 END
FROM json_each(?) AS row, json_each(?) AS sink
"""
HEADS = """
SELECT callback, lane FROM outbox WHERE sink = :sink AND due <= :now ORDER BY due, callback LIMIT :limit
"""
BATCH = """
SELECT callback FROM outbox WHERE sink = ? AND lane = ? AND state = 'waiting' AND callback >= ? ORDER BY callback
LIMIT ?
"""
LEASE = """
UPDATE outbox SET taken = :token, due = CASE WHEN due IS NOT NULL THEN :until END
WHERE sink = :sink AND callback IN (SELECT value FROM json_each(:ids))
"""
# No head is set here, not even for a moment two of one lane: the failed ones become heads in a second step.
RECORD_OUTCOMES = """
UPDATE outbox SET state = change.state, due = NULL, taken = NULL, attempts = attempts + change.tried,
       reason = coalesce(change.reason, outbox.reason), changed = CASE WHEN change.tried THEN :now ELSE changed END
FROM (SELECT value->>0 AS id, value->>1 AS state, value->>2 AS tried, value->>3 AS reason
      FROM json_each(:changes)) AS change
WHERE outbox.callback = change.id AND sink = :sink AND taken = :token
RETURNING callback
"""
SCHEDULE_RETRIES = """
UPDATE outbox SET due = :now + failed.wait
FROM (SELECT value->>0 AS id, value->>1 AS wait FROM json_each(:failed)) AS failed
WHERE callback = failed.id AND sink = :sink
"""
ACTIVATE_NEXT = """
UPDATE outbox SET due = 0 WHERE sink = :sink AND callback IN (
    SELECT (SELECT callback FROM outbox AS next
            WHERE next.sink = :sink AND next.lane = lane.value AND next.state = 'waiting' ORDER BY callback LIMIT 1)
    FROM json_each(:lanes) AS lane
    WHERE NOT EXISTS (SELECT 1 FROM outbox AS head
                      WHERE head.sink = :sink AND head.lane = lane.value AND head.due IS NOT NULL))
"""
DELIVERY_COLUMN_COUNT = 6
ENTRIES = f"""
SELECT {DELIVERY_COLUMNS}, {MESSAGE_COLUMNS} FROM outbox JOIN callbacks ON id = callback WHERE sink = :sink
"""  # noqa: S608  names only
SELECT_IN_STATE = """
SELECT callback FROM outbox WHERE sink = :sink AND state = '{}'
AND (:wanted IS NULL OR callback IN (SELECT value FROM json_each(:wanted))) LIMIT :limit
"""
CHANGE_STATE = """
UPDATE outbox SET state = :state, due = NULL, taken = NULL, changed = :now,
       attempts = CASE WHEN :state = 'waiting' THEN 0 ELSE attempts END
WHERE sink = :sink AND callback IN (SELECT value FROM json_each(:ids)) RETURNING lane
"""
BACKLOGS = """
SELECT sink, waiting, (SELECT received FROM callbacks WHERE id = oldest), dead FROM (
    SELECT sink, sum(waiting) AS waiting, min(oldest) AS oldest, sum(dead) AS dead FROM (
        SELECT sink, count(*) AS waiting, min(callback) AS oldest, 0 AS dead
        FROM outbox INDEXED BY outbox_waiting WHERE state = 'waiting' GROUP BY sink
        UNION ALL
        SELECT sink, 0, NULL, count(*) FROM outbox INDEXED BY outbox_dead WHERE state = 'dead' GROUP BY sink
    ) GROUP BY sink
)
"""


class SqliteOutbox:
    """Notes are taken in the store's own transactions; everything else is done by a writer of its own."""

    def __init__(self, writer: Writer, reader: Reader, sinks: Sequence[str]) -> None:
        self._writer = writer
        self._reader = reader
        self._sinks = tuple(sinks)
        self._clock_offset_us = _now_us() - time.monotonic_ns() // 1000
        with writer.transaction() as connection:  # taken by a process that has ended, or to wait by an earlier clock
            connection.execute("UPDATE outbox SET due = 0, taken = NULL WHERE due > 0")

    def enqueue(self, writer: apsw.Connection, first_id: int, callbacks: Sequence[IncomingCallback]) -> None:
        """Within a transaction of the store: each sink must get these, which have the ids from `first` on."""
        if self._sinks:
            rows = [(number, ordering_key(incoming)) for number, incoming in enumerate(callbacks, first_id)]
            heads = {of: number for number, of in reversed(rows)}
            marked = [(number, of, heads[of] == number) for number, of in rows]
            writer.execute(ENQUEUE, (json.dumps(marked), json.dumps(self._sinks)))

    def acquire(self, sink: str, limit: int, *, lease_seconds: float, batch_size: int = 1) -> Lease:
        """Take what is due."""
        now, token = self._monotonic_us(), secrets.randbits(62)
        with self._writer.transaction() as writer:
            heads: list[tuple[Any, ...]] = writer.execute(HEADS, {"sink": sink, "now": now, "limit": limit}).fetchall()
            batches: list[list[int]] = [[head] for head, _ in heads]
            max_length = min(batch_size, limit // max(1, len(heads)))
            if max_length > 1:
                batches = [_first_column(writer.execute(BATCH, (sink, lane, head, max_length))) for head, lane in heads]
            entry_ids = json.dumps(list(chain.from_iterable(batches)))
            values = {"token": token, "until": now + int(lease_seconds * 1_000_000), "sink": sink, "ids": entry_ids}
            writer.execute(LEASE, values)
        self._writer.checkpoint()
        entries = (
            self._fetch_entries(sink, "callback IN (SELECT value FROM json_each(:ids))", ids=entry_ids)
            if batches
            else []
        )
        entries_by_id = {entry.message.id: entry for entry in entries}
        ordered = tuple(tuple(entries_by_id[number] for number in numbers) for numbers in batches)
        return Lease(sink, ordered, token, tuple(lane for _, lane in heads))

    def record_outcomes(self, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Note what became of a claim."""
        updates = list(entry_updates(lease, outcomes))
        values: dict[str, Any] = {"sink": lease.sink, "now": _now_us(), "token": lease.token}
        with self._writer.transaction() as writer:
            updated_ids = set(
                _first_column(writer.execute(RECORD_OUTCOMES, {**values, "changes": json.dumps(updates)}))
            )
            retries = [
                (update.id, update.retry_delay_us)
                for update in updates
                if update.retry_delay_us and update.id in updated_ids
            ]
            writer.execute(SCHEDULE_RETRIES, {**values, "now": self._monotonic_us(), "failed": json.dumps(retries)})
            writer.execute(ACTIVATE_NEXT, {**values, "lanes": json.dumps(lease.ordering_keys)})
        self._writer.checkpoint()

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[OutboxEntry]:
        """Given up for a sink, oldest first."""
        condition = "state = 'dead' AND callback > :after ORDER BY callback LIMIT :limit"
        return self._fetch_entries(sink, condition, after=after, limit=limit)

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Let dead letters wait again."""
        return self._change_states(sink, ids, [DEAD_LETTER], PENDING)

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, include_pending: bool = False) -> int:
        """Give up for good."""
        return self._change_states(sink, ids, [DEAD_LETTER, PENDING] if include_pending else [DEAD_LETTER], DISCARDED)

    def heartbeat(self, sink: str) -> None:
        """There are no others."""

    def has_active_listener(self, sink: str) -> bool:
        """Whether it is named here."""
        return sink in self._sinks

    def backlogs(self) -> list[Backlog]:
        """One for each sink that is named or must still get something."""
        counted = dict.fromkeys(self._sinks, (0, None, 0))
        counted |= {
            sink: (waiting, oldest, dead) for sink, waiting, oldest, dead in self._reader.fetch_rows(BACKLOGS, {})
        }
        return [Backlog(sink, *figures) for sink, figures in counted.items()]

    def _monotonic_us(self) -> int:
        """Microseconds of a clock that is never set back: what is due in a second must not wait for an hour."""
        return self._clock_offset_us + time.monotonic_ns() // 1000

    def _fetch_entries(self, sink: str, condition: str, **values: Any) -> list[OutboxEntry]:
        rows = self._reader.fetch_rows(f"{ENTRIES} AND {condition}", {"sink": sink, **values})
        return [
            OutboxEntry(message_from_row(row[DELIVERY_COLUMN_COUNT:]), Delivery(*row[:DELIVERY_COLUMN_COUNT]))
            for row in rows
        ]

    def _change_states(self, sink: str, ids: Sequence[int] | None, from_states: list[str], to_state: str) -> int:
        selected_ids = None if ids is None else json.dumps(list(ids))
        return sum(self._change_state(sink, selected_ids, from_state, to_state) for from_state in from_states)

    def _change_state(self, sink: str, selected_ids: str | None, from_state: str, to_state: str) -> int:
        """From one state to another, a part at a time."""
        count = 0
        while True:
            with self._writer.transaction() as writer:
                values = {"sink": sink, "wanted": selected_ids, "limit": STATE_CHANGE_BATCH_SIZE}
                ids = _first_column(writer.execute(SELECT_IN_STATE.format(from_state), values))
                update = {"sink": sink, "ids": json.dumps(ids), "state": to_state, "now": _now_us()}
                ordering_keys = _first_column(writer.execute(CHANGE_STATE, update))
                writer.execute(ACTIVATE_NEXT, {"sink": sink, "lanes": json.dumps(ordering_keys)})
            self._writer.checkpoint()
            count += len(ids)
            if len(ids) < STATE_CHANGE_BATCH_SIZE:
                return count
            time.sleep(BATCH_PAUSE_SECONDS)


def _first_column(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [row[0] for row in rows]


def _now_us() -> int:
    return time.time_ns() // 1000
