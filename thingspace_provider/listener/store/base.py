"""Interface and guarantees of every store, and the code that SQLite and PostgreSQL share.

- **Append**: callbacks are on disk when `append` returns. Ids grow in commit order, also for readers: a reader that
  continues after the last id it has seen skips no message, with any number of writers.
- **Outbox**: a store is opened with the names of the sinks. `append` adds an outbox entry for each of them in its own
  transaction, for every kind of message. A new sink gets no earlier messages. A sink that is no longer named keeps its
  entries, gets no new ones, and is still listed by `backlogs`.
- **Purge**: `purge` keeps messages with a pending entry or a dead letter. No id is used twice.

A forwarder leases entries, delivers them, and records the outcomes:

    lease = store.outbox.acquire("erp", limit=500, lease_seconds=30, batch_size=20)
    for batch in lease.batches:      # in any order, also concurrently
        for entry in batch:          # of one device, in this order
            ...                      # stop the batch at its first failure, and all batches before the lease expires
    store.outbox.record_outcomes(lease, [Delivered(7), RetryLater(8, "HTTP 500", 4.0), DeadLettered(12, "HTTP 410")])

A batch starts with the oldest pending entry of one account and device. This keeps the order of each device, and a
failure delays its own device only; a dead letter delays none. The outcomes of a batch are recorded once, together with
other batches or as a `subset`. Entries without an outcome, and failures after the first in a batch, return to the
outbox and count no attempt. A lease that is not recorded expires; outcomes recorded later, after another forwarder has
leased the entry, have no effect. So a sink can get a message twice, but never from two forwarders at once.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from thingspace_provider.listener.model import (
    DEAD_LETTER,
    DISCARDED,
    PENDING,
    DeliveryHistory,
    IncomingCallback,
    MessageQuery,
    OutboxEntry,
    StoredMessage,
)
from thingspace_provider.listener.store.query_sql import BACKLOGS, DEAD_LETTERS
from thingspace_provider.listener.store.reader import SqlReader, entry_from_row

HEARTBEAT_INTERVAL_SECONDS = 10.0
HEARTBEAT_TIMEOUT_SECONDS = 60.0  # several intervals, because a listener that runs can miss a few heartbeats
STATE_CHANGE_BATCH_SIZE = 1000  # entries in one transaction, so that no append is delayed
BATCH_INTERVAL_SECONDS = 0.001  # lets waiting appends get the lock


class StoreError(Exception):
    """An operation of the store failed now; nothing was stored."""


class StoreOpenError(Exception):
    """The store cannot be opened, or cannot keep its guarantees. The message has a hint."""


@dataclass(frozen=True)
class Lease:
    """Time-limited exclusive right to deliver batches of entries to a sink.

    `token` identifies the lease; `ordering_keys` has one key for each batch.
    """

    sink: str
    batches: tuple[tuple[OutboxEntry, ...], ...]
    token: int
    ordering_keys: tuple[int, ...]

    def subset(self, *indexes: int) -> Lease:
        """Return the part with these batches, whose outcomes can be recorded before those of the others."""
        batches = tuple(self.batches[index] for index in indexes)
        return Lease(self.sink, batches, self.token, tuple(self.ordering_keys[index] for index in indexes))


class Delivered(NamedTuple):
    """Outcome: the sink has accepted the message."""

    id: int


class RetryLater(NamedTuple):
    """Outcome: a failed attempt. The next one is after a delay, and later messages of the device wait for it."""

    id: int
    error: str
    delay_seconds: float


class DeadLettered(NamedTuple):
    """Outcome: the entry becomes a dead letter, and the next message of the device is due."""

    id: int
    error: str


Outcome = Delivered | RetryLater | DeadLettered


@dataclass(frozen=True)
class Backlog:
    """Number of pending entries of a sink, receive time of the oldest of them, and number of dead letters."""

    sink: str
    pending: int
    oldest_received_at: int | None
    dead_letters: int


@dataclass(frozen=True)
class PurgeResult:
    """Number of purged messages, and the receive time and id to continue after; None at the end."""

    purged: int
    after: tuple[int, int] | None


class Outbox(ABC):
    """Outbox entries of each sink. Every method can be called by any thread and raises StoreError."""

    def __init__(self, reader: SqlReader, sinks: Sequence[str]) -> None:
        self._reader = reader
        self._sinks = list(sinks)

    @abstractmethod
    def acquire(self, sink: str, limit: int, *, lease_seconds: float, batch_size: int = 1) -> Lease:
        """Lease at most `limit` due entries, in batches of at most `batch_size` entries.

        While many devices have due entries, the batches are shorter, so that every device makes progress.
        """

    @abstractmethod
    def record_outcomes(self, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Record the outcomes of a lease, and release its entries."""

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[OutboxEntry]:
        """Return dead letters with message ids above `after`, oldest first."""
        rows = self._reader.fetch_rows(DEAD_LETTERS, {"sink": sink, "after": after, "limit": limit})
        return [entry_from_row(row) for row in rows]

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Make dead letters (None for all) pending again, with no attempts counted. Return their number."""
        return self._change_states(sink, ids, DEAD_LETTER, PENDING)

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, include_pending: bool = False) -> int:
        """Discard dead letters, and pending entries if requested. Return their number."""
        states = [DEAD_LETTER, PENDING] if include_pending else [DEAD_LETTER]
        return sum(self._change_states(sink, ids, state, DISCARDED) for state in states)

    def heartbeat(self, sink: str) -> None:  # noqa: B027  without replicas, nothing is recorded
        """Record that this listener has the sink. Call it every HEARTBEAT_INTERVAL_SECONDS."""

    def has_active_listener(self, sink: str) -> bool:
        """Return whether a listener on this store has the sink, or had it within HEARTBEAT_TIMEOUT_SECONDS."""
        return sink in self._sinks

    def backlogs(self) -> list[Backlog]:
        """Return the backlog of each sink that is named, or that has pending entries or dead letters.

        Counting a million entries takes 50 ms in SQLite and 500 ms in PostgreSQL.
        """
        backlogs = {sink: Backlog(sink, 0, None, 0) for sink in self._sinks}
        backlogs |= {row[0]: Backlog(*row) for row in self._reader.fetch_rows(BACKLOGS, {})}
        return list(backlogs.values())

    def _change_states(self, sink: str, ids: Sequence[int] | None, from_state: str, to_state: str) -> int:
        total = 0
        while True:
            count = self._change_state(sink, None if ids is None else list(ids), from_state, to_state)
            total += count
            if count < STATE_CHANGE_BATCH_SIZE:
                return total
            time.sleep(BATCH_INTERVAL_SECONDS)

    @abstractmethod
    def _change_state(self, sink: str, ids: list[int] | None, from_state: str, to_state: str) -> int:
        """Change at most STATE_CHANGE_BATCH_SIZE entries in one transaction. Return their number."""


class Coordination(Protocol):
    """Leader leases and shared values of the replicas on one store. Every method raises StoreError."""

    def leader_lease(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """Try to hold a leader lease for a block. The function returns whether this listener holds it now."""

    def now(self) -> int:
        """Return microseconds after 1970, by the same clock for all replicas."""

    def get_value(self, name: str) -> int:
        """Return the value that a replica has set last, 0 without one."""

    def set_value(self, name: str, value: int) -> None:
        """Set a value durably."""


class Store(ABC):
    """Durable messages. One thread at a time calls `append`, `check_writable` and `run_maintenance`, any the others.

    `max_batch_size` limits the callbacks of one append, so that ThingSpace gets its responses in time.
    """

    max_batch_size: int
    outbox: Outbox
    coordination: Coordination
    _reader: SqlReader

    @abstractmethod
    def append(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all callbacks durably, or none. Raises StoreError."""

    @abstractmethod
    def check_writable(self) -> None:
        """Commit a write that no reader sees. Raises StoreError."""

    def run_maintenance(self) -> None:  # noqa: B027  PostgreSQL does it without a request
        """Do work that would delay a commit. Called at the start and after responses were sent."""

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Return the messages of a query in the order of their ids. Raises StoreError."""
        return self._reader.find(query)

    def count_by_time(self, query: MessageQuery, bucket_us: int) -> dict[int, int]:
        """Count the messages of a query with `received_from`, in buckets of so many microseconds since that time.

        Bucket 0 is the first. Buckets without messages are missing. Raises StoreError.
        """
        return self._reader.count_by_time(query, bucket_us)

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """Return all deliveries of a message, or None without this message. Raises StoreError."""
        return self._reader.delivery_history(message_id)

    @abstractmethod
    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Examine the next `limit` messages received before a time, and remove those that no sink must receive.

        The order is that of receive times, not of ids, because a clock can be wrong for a while. With a few hundred
        messages at a time, no append is delayed noticeably. Raises StoreError.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the store."""
