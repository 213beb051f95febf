"""What a store promises, to those who write, read, forward and clean up.

- **Append**: what `append` has taken is on disk when it returns, in one order that never changes.
- **Read**: ids grow in the order in which callbacks become visible, so that a reader who asks for what is after the
  last id it saw never skips one, however many write.
- **Forward**: the names of the sinks are given when the store is opened. From then on `append` notes in its own
  transaction what each sink must still get, of every kind; what was stored before a sink was named is not for it.
  Without sinks nothing is noted. A sink that is no longer named keeps what it must still get, gets nothing new, and
  is still listed by `backlogs`.
- **Clean up**: `remove` never takes what a sink must still get or could not take; no id is given twice.

A forwarder works on `store.outbox`, in a cycle of two calls:

    claim = store.outbox.take("erp", limit=500, lease=30, run=20)    # at most 500, none that others have
    for run in claim.runs:                                           # runs at once or one after the other
        for parcel in run:                                           # of one device: in this order
            ...deliver parcel.stored, stop the run at its first failure, stop all before the lease ends
    store.outbox.report(claim, [Delivered(7), Failed(8, "HTTP 500", wait=4.0), Dead(12, "HTTP 410")])

A run holds the oldest undelivered callbacks of one account and device, so that order per device holds, and a
device whose delivery fails delays only itself. Each run of a claim is reported once and whole, together with others
of its claim or in a part of its own (`Claim.only`): what it took and the outcomes do not name goes back at once and
uncounted (an empty list gives all back); of a run only the first failure counts.
A claim that is never reported ends with its lease; a report that comes after somebody else took the parcel is
ignored. So a sink may get a parcel twice, but not from two at once. A dead letter does not hold up its device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from thingspace_provider.listener.callback_parser import Callback, Device
from thingspace_provider.listener.store.coordination import Coordination

HEARTBEAT_INTERVAL_SECONDS, HEARTBEAT_TIMEOUT_SECONDS = (
    10.0,
    60.0,
)  # far apart: a listener that misses a few is not gone
PENDING, DELIVERED, DEAD_LETTER, DISCARDED = STATES = ("waiting", "delivered", "dead", "discarded")


class StoreError(Exception):
    """The store could not do it now; what was to be stored is not stored."""


class StoreOpenError(Exception):
    """The store cannot be opened, or not with the promise it has to keep; the text says what to do."""


class IncomingCallback(NamedTuple):
    """A callback that came for an account, `received` microseconds after 1970 by the listener's clock.

    `repeats` is the id of a stored one that it is known to repeat, where a store could not find that out by itself.
    """

    account: str
    received_at: int
    callback: Callback
    duplicate_of: int | None = None


@dataclass(frozen=True)
class StoredMessage:
    """One stored callback. Ids grow in the order of storage; times are microseconds after 1970.

    `stored` is when its commit began, None for what version 1 stored. `duplicate_of` is the id of the callback that
    this one seems to repeat.
    """

    id: int
    account: str
    kind: str
    devices: tuple[Device, ...]
    text: str | None
    request_id: str | None
    received_at: int
    stored_at: int | None
    duplicate_of: int | None
    body: bytes


@dataclass(frozen=True)
class MessageQuery:
    """Which callbacks to read: at most `limit` with ids above `after` and below `before`; None means any.

    `device` is an identifier in either case, `device_kind` narrows it; `received_from` and `received_until` are
    microseconds after 1970, both included; `contains` is a piece of the text, ASCII letters in either case. `last`
    selects the newest `limit` instead of the oldest; either way the oldest comes first.
    """

    limit: int
    after: int = 0
    before: int | None = None
    account: str | None = None
    kind: str | None = None
    device: str | None = None
    device_kind: str | None = None
    received_from: int | None = None
    received_until: int | None = None
    contains: str | None = None
    newest: bool = False


@dataclass(frozen=True)
class Delivery:
    """How far a callback has come with one sink; times are microseconds after 1970.

    Args:
        state: one of STATES: undelivered; delivered; given up until somebody retries it; given up for good.
        attempts: outcomes reported since it was stored or last retried.
        reason: of the last failure, or None.
        changed: when the last outcome was reported, or None.
        due: when it is tried next; 0 at once; None when an older one of its device goes first, or never.
    """

    sink: str
    state: str
    attempts: int
    last_error: str | None
    updated_at: int | None
    next_attempt_at: int | None


@dataclass(frozen=True)
class OutboxEntry:
    """A callback and how far it has come with one sink."""

    message: StoredMessage
    delivery: Delivery


@dataclass(frozen=True)
class DeliveryHistory:
    """A callback and how far it has come with every sink that it is for."""

    message: StoredMessage
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True)
class Lease:
    """What was taken for a sink: runs of parcels, each run to be delivered in its order.

    `token` and `lanes` are the store's: who took it, and the lane of each run.
    """

    sink: str
    batches: tuple[tuple[OutboxEntry, ...], ...]
    token: int
    ordering_keys: tuple[int, ...]

    def subset(self, *indexes: int) -> Lease:
        """The part with these runs, by their place, to be reported without waiting for the others."""
        batches = tuple(self.batches[index] for index in indexes)
        return Lease(self.sink, batches, self.token, tuple(self.ordering_keys[number] for number in indexes))


class Delivered(NamedTuple):
    """The sink has it."""

    id: int


class RetryLater(NamedTuple):
    """The sink did not take it now; try again after `wait` seconds. It delays the later ones of its device."""

    id: int
    error: str
    delay_seconds: float


class DeadLettered(NamedTuple):
    """The sink will not take it; the next one of its device may go."""

    id: int
    error: str


Outcome = Delivered | RetryLater | DeadLettered


@dataclass(frozen=True)
class Backlog:
    """What a sink must still get: how many, when the oldest of them was received, and how many are dead letters."""

    sink: str
    pending: int
    oldest_received_at: int | None
    dead_letters: int


@dataclass(frozen=True)
class PurgeResult:
    """How many were removed, and when the one to go on after was received, and its id; None when no older is left."""

    purged: int
    after: tuple[int, int] | None


class Outbox(Protocol):
    """What each sink must still get. Called by any thread; every method raises StoreFailed."""

    def acquire(self, sink: str, limit: int, *, lease_seconds: float, batch_size: int = 1) -> Lease:
        """Take what is due: at most `limit` parcels, `run` of one device, for `lease` seconds.

        While many devices wait the runs are short, so that all get their turn.
        """

    def record_outcomes(self, lease: Lease, outcomes: Sequence[Outcome]) -> None:
        """Note what became of a claim."""

    def dead_letters(self, sink: str, limit: int, after: int = 0) -> list[OutboxEntry]:
        """Given up for a sink, with ids above `after`, oldest first."""

    def retry(self, sink: str, ids: Sequence[int] | None = None) -> int:
        """Let dead letters (None means all) wait again, with no attempts counted; how many there were."""

    def discard(self, sink: str, ids: Sequence[int] | None = None, *, include_pending: bool = False) -> int:
        """Give dead letters up for good, and on demand also what waits; how many there were."""

    def heartbeat(self, sink: str) -> None:
        """Let others on this store know that the sink is named here; to be called every SERVE_SECONDS."""

    def has_active_listener(self, sink: str) -> bool:
        """Whether a listener on this store names the sink, or did within SERVED_SECONDS."""

    def backlogs(self) -> list[Backlog]:
        """One for each sink that is named or must still get something.

        It counts: a million takes some 50 ms in SQLite and 500 ms in PostgreSQL.
        """


class Store(Protocol):
    """Append, prove and tidy are called by one thread at a time, everything else by any.

    `batch` is how many callbacks one append should take at most, so that the carrier is answered in time.
    """

    max_batch_size: int

    @property
    def outbox(self) -> Outbox:
        """What each sink must still get."""

    @property
    def coordination(self) -> Coordination:
        """What listeners on this store have in common beside texts."""

    def append(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all or none, durably. Raises StoreFailed."""

    def check_writable(self) -> None:
        """Write something durably that no reader sees. Raises StoreFailed."""

    def run_maintenance(self) -> None:
        """Do, at the start and after the answers are out, what would have delayed them."""

    def find(self, query: MessageQuery) -> list[StoredMessage]:
        """Stored callbacks in the order of storage. Raises StoreFailed."""

    def delivery_history(self, message_id: int) -> DeliveryHistory | None:
        """One callback and what became of it, or None when there is none of that id. Raises StoreFailed."""

    def purge(self, received_before: int, limit: int, after: tuple[int, int] = (0, 0)) -> PurgeResult:
        """Look at the next `limit` callbacks received before a moment, remove those that are owed to nobody.

        By that time and not by id, because a clock may have been wrong for a while.

        A few hundred at a time delay no append noticeably. Raises StoreFailed.
        """

    def close(self) -> None:
        """Let go of the store."""
