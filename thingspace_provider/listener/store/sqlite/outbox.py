"""Outbox of the SQLite store. See `ordering.py` for its invariant."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import apsw

from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.base import STATE_CHANGE_BATCH_SIZE, Lease, Outbox, Outcome
from thingspace_provider.listener.store.ordering import entry_updates, ordering_key
from thingspace_provider.listener.store.query_sql import ENTRIES
from thingspace_provider.listener.store.reader import entry_from_row
from thingspace_provider.listener.store.sqlite.reader import SqliteReader
from thingspace_provider.listener.store.sqlite.writer import Writer

ENQUEUE = """
INSERT INTO outbox (message_id, sink, ordering_key, next_attempt_at)
SELECT row.value->>0, sink.value, row.value->>1,
       CASE WHEN row.value->>2 AND NOT EXISTS (
           SELECT 1 FROM outbox AS active
           WHERE active.sink = sink.value AND active.ordering_key = row.value->>1
           AND active.next_attempt_at IS NOT NULL) THEN 0 END
FROM json_each(?) AS row, json_each(?) AS sink
"""
DUE = """
SELECT message_id, ordering_key FROM outbox WHERE sink = :sink AND next_attempt_at <= :now
ORDER BY next_attempt_at, message_id LIMIT :limit
"""
BATCH = """
SELECT message_id FROM outbox WHERE sink = ? AND ordering_key = ? AND state = 'pending' AND message_id >= ?
ORDER BY message_id LIMIT ?
"""
LEASE = """
UPDATE outbox SET lease_token = :token, next_attempt_at = CASE WHEN next_attempt_at IS NOT NULL THEN :until END
WHERE sink = :sink AND message_id IN (SELECT value FROM json_each(:ids))
"""
LEASED_ENTRIES = f"{ENTRIES} AND message_id IN (SELECT value FROM json_each(:ids))"  # noqa: S608  names only
# Activates no entry: a key must not have two active ones, not even for a moment.
RECORD_OUTCOMES = """
UPDATE outbox SET state = entry.state, next_attempt_at = NULL, lease_token = NULL,
       attempts = attempts + entry.attempt_increment, last_error = coalesce(entry.last_error, outbox.last_error),
       updated_at = CASE WHEN entry.attempt_increment THEN :now ELSE updated_at END
FROM (SELECT value->>0 AS id, value->>1 AS state, value->>2 AS attempt_increment, value->>3 AS last_error
      FROM json_each(:updates)) AS entry
WHERE outbox.message_id = entry.id AND sink = :sink AND lease_token = :token
RETURNING message_id
"""
SCHEDULE_RETRIES = """
UPDATE outbox SET next_attempt_at = :now + failed.retry_delay_us
FROM (SELECT value->>0 AS id, value->>1 AS retry_delay_us FROM json_each(:retries)) AS failed
WHERE message_id = failed.id AND sink = :sink
"""
ACTIVATE_NEXT = """
UPDATE outbox SET next_attempt_at = 0 WHERE sink = :sink AND message_id IN (
    SELECT (SELECT message_id FROM outbox AS next
            WHERE next.sink = :sink AND next.ordering_key = key.value AND next.state = 'pending'
            ORDER BY message_id LIMIT 1)
    FROM json_each(:ordering_keys) AS key
    WHERE NOT EXISTS (
        SELECT 1 FROM outbox AS active
        WHERE active.sink = :sink AND active.ordering_key = key.value AND active.next_attempt_at IS NOT NULL))
"""
SELECT_IN_STATE = """
SELECT message_id FROM outbox WHERE sink = :sink AND state = '{}'
AND (:ids IS NULL OR message_id IN (SELECT value FROM json_each(:ids))) LIMIT :limit
"""
CHANGE_STATE = """
UPDATE outbox SET state = :state, next_attempt_at = NULL, lease_token = NULL, updated_at = :now,
       attempts = CASE WHEN :state = 'pending' THEN 0 ELSE attempts END
WHERE sink = :sink AND message_id IN (SELECT value FROM json_each(:ids)) RETURNING ordering_key
"""
RELEASE_ALL = "UPDATE outbox SET next_attempt_at = 0, lease_token = NULL WHERE next_attempt_at > 0"


class SqliteOutbox(Outbox):
    """Outbox of one listener. Its writer commits everything but new entries, which `append` commits."""

    def __init__(self, writer: Writer, reader: SqliteReader, sinks: Sequence[str]) -> None:
        super().__init__(reader, sinks)
        self._writer = writer
        self._clock_offset_us = _now_us() - time.monotonic_ns() // 1000
        with writer.transaction() as connection:  # leases of an earlier process, and times of its clock
            connection.execute(RELEASE_ALL)

    def enqueue(self, connection: apsw.Connection, first_id: int, callbacks: Sequence[IncomingCallback]) -> None:
        """Add entries for messages with ids from `first_id`, in a transaction of the caller."""
        if self._sinks:
            rows = [(message_id, ordering_key(incoming)) for message_id, incoming in enumerate(callbacks, first_id)]
            first_by_key = {key: message_id for message_id, key in reversed(rows)}
            marked = [(message_id, key, first_by_key[key] == message_id) for message_id, key in rows]
            connection.execute(ENQUEUE, (json.dumps(marked), json.dumps(self._sinks)))

    def acquire(self, sink: str, limit: int, *, lease_seconds: float, batch_size: int = 1) -> Lease:
        """Lease due entries."""
        now, token = self._monotonic_us(), secrets.randbits(62)
        with self._writer.transaction() as connection:
            due: list[tuple[Any, ...]] = connection.execute(DUE, {"sink": sink, "now": now, "limit": limit}).fetchall()
            batches: list[list[int]] = [[first] for first, _ in due]
            max_length = min(batch_size, limit // max(1, len(due)))
            if max_length > 1:
                batches = [
                    _first_column(connection.execute(BATCH, (sink, key, first, max_length))) for first, key in due
                ]
            ids = json.dumps(list(chain.from_iterable(batches)))
            values = {"token": token, "until": now + int(lease_seconds * 1_000_000), "sink": sink, "ids": ids}
            connection.execute(LEASE, values)
        self._writer.checkpoint()
        rows = self._reader.fetch_rows(LEASED_ENTRIES, {"sink": sink, "ids": ids}) if batches else []
        entries = {entry.message.id: entry for entry in map(entry_from_row, rows)}
        ordered = tuple(tuple(entries[message_id] for message_id in batch) for batch in batches)
        return Lease(sink, ordered, token, tuple(key for _, key in due))

    def record_outcomes(self, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes of a lease."""
        updates = list(entry_updates(lease, outcomes))
        values: dict[str, Any] = {"sink": lease.sink, "token": lease.token}
        with self._writer.transaction() as connection:
            recorded = {**values, "now": _now_us(), "updates": json.dumps(updates)}
            recorded_ids = set(_first_column(connection.execute(RECORD_OUTCOMES, recorded)))
            retries = [
                (update.id, update.retry_delay_us)
                for update in updates
                if update.retry_delay_us and update.id in recorded_ids
            ]
            values |= {"now": self._monotonic_us(), "retries": json.dumps(retries)}
            connection.execute(SCHEDULE_RETRIES, values)
            connection.execute(ACTIVATE_NEXT, {**values, "ordering_keys": json.dumps(lease.ordering_keys)})
        self._writer.checkpoint()

    def _monotonic_us(self) -> int:
        """Return microseconds of a clock that is never set back, so that no retry is delayed by an hour."""
        return self._clock_offset_us + time.monotonic_ns() // 1000

    def _change_state(self, sink: str, ids: list[int] | None, from_state: str, to_state: str) -> int:
        selected = {"sink": sink, "ids": None if ids is None else json.dumps(ids), "limit": STATE_CHANGE_BATCH_SIZE}
        with self._writer.transaction() as connection:
            changed_ids = _first_column(connection.execute(SELECT_IN_STATE.format(from_state), selected))
            update = {"sink": sink, "ids": json.dumps(changed_ids), "state": to_state, "now": _now_us()}
            keys = _first_column(connection.execute(CHANGE_STATE, update))
            connection.execute(ACTIVATE_NEXT, {"sink": sink, "ordering_keys": json.dumps(keys)})
        self._writer.checkpoint()
        return len(changed_ids)


def _first_column(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [row[0] for row in rows]


def _now_us() -> int:
    return time.time_ns() // 1000
