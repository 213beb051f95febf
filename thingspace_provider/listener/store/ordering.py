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
    DEAD_LETTER,
    DELIVERED,
    PENDING,
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


def ordering_key(incoming: IncomingCallback) -> int:
    """A signed 64-bit number. Two lanes that share one by chance are in order together, which harms nobody.

    The device is the one that events name, because ThingSpace does not always give all of its identifiers.
    """
    identity = repr((incoming.account, primary_device(incoming.callback.devices))).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(identity, digest_size=8).digest(), "big", signed=True)


def entry_updates(lease: Lease, outcomes: Sequence[Outcome]) -> Iterator[EntryUpdate]:
    """One for each parcel of the claim. After a gap or a failure in a run no further failure counts: one head waits."""
    outcomes_by_id = {outcome.id: outcome for outcome in outcomes}
    for batch in lease.batches:
        is_contiguous = True
        for entry in batch:
            outcome = outcomes_by_id.get(entry.message.id)
            if isinstance(outcome, RetryLater) and not is_contiguous:
                outcome = None
            is_contiguous = is_contiguous and isinstance(outcome, Delivered | DeadLettered)
            yield _entry_update(entry.message.id, outcome)


def _entry_update(message_id: int, outcome: Outcome | None) -> EntryUpdate:
    if isinstance(outcome, Delivered):
        return EntryUpdate(message_id, DELIVERED, 1, None, None)
    if isinstance(outcome, DeadLettered):
        return EntryUpdate(message_id, DEAD_LETTER, 1, outcome.error, None)
    if isinstance(outcome, RetryLater):
        return EntryUpdate(message_id, PENDING, 1, outcome.error, max(1, int(outcome.delay_seconds * 1_000_000)))
    return EntryUpdate(message_id, PENDING, 0, None, None)
