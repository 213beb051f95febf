"""Order per device: callbacks of one account and device form a lane, and only the head of a lane is due.

Both stores keep the same invariant: a lane of a sink with waiting parcels has exactly one head, the one whose `due`
is not null. A claim moves the head's `due` to the end of its lease; so a dead taker's claims come free by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from thingspace_provider.listener.callback_parser import primary_device
from thingspace_provider.listener.store.base import (
    DEAD,
    DELIVERED,
    WAITING,
    DeadLettered,
    Delivered,
    IncomingCallback,
    Lease,
    Outcome,
    RetryLater,
)


class EntryUpdate(NamedTuple):
    """What a report does to one parcel. `tried` is 1 when it counts as an attempt; `wait` in microseconds or None."""

    id: int
    state: str
    attempt_increment: int
    reason: str | None
    retry_delay_us: int | None


def ordering_key(arrival: IncomingCallback) -> int:
    """A signed 64-bit number. Two lanes that share one by chance are in order together, which harms nobody.

    The device is the one that events name, because ThingSpace does not always give all of its identifiers.
    """
    named = repr((arrival.account, primary_device(arrival.callback.devices))).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "big", signed=True)


def entry_updates(claim: Lease, outcomes: Sequence[Outcome]) -> Iterator[EntryUpdate]:
    """One for each parcel of the claim. After a gap or a failure in a run no further failure counts: one head waits."""
    known = {outcome.id: outcome for outcome in outcomes}
    for run in claim.batches:
        whole = True
        for parcel in run:
            outcome = known.get(parcel.stored.id)
            if isinstance(outcome, RetryLater) and not whole:
                outcome = None
            whole = whole and isinstance(outcome, Delivered | DeadLettered)
            yield _change(parcel.stored.id, outcome)


def _change(number: int, outcome: Outcome | None) -> EntryUpdate:
    if isinstance(outcome, Delivered):
        return EntryUpdate(number, DELIVERED, 1, None, None)
    if isinstance(outcome, DeadLettered):
        return EntryUpdate(number, DEAD, 1, outcome.reason, None)
    if isinstance(outcome, RetryLater):
        return EntryUpdate(number, WAITING, 1, outcome.reason, max(1, int(outcome.delay_seconds * 1_000_000)))
    return EntryUpdate(number, WAITING, 0, None, None)
