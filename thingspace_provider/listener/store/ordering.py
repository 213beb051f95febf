"""Ordering keys, and the effect of outcomes on outbox entries.

Invariant of both databases: an ordering key of a sink with pending entries has exactly one active entry, which is the
one with a `next_attempt_at`. A lease moves that time to its end, so an abandoned lease expires without further action.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from thingspace_provider.listener.model import DEAD_LETTER, DELIVERED, PENDING, IncomingCallback, primary_device
from thingspace_provider.listener.store.base import (
    DeadLettered,
    Delivered,
    Lease,
    Outcome,
    RetryLater,
)


class EntryUpdate(NamedTuple):
    """New state of an entry. `attempt_increment` is 0 or 1; `retry_delay_us` is set for a failed attempt only."""

    id: int
    state: str
    attempt_increment: int
    last_error: str | None
    retry_delay_us: int | None


def ordering_key(incoming: IncomingCallback) -> int:
    """Return a signed 64-bit hash of account and device. Keys with equal hashes only share their order.

    The device is the one that events name, because ThingSpace does not always give all of its identifiers.
    """
    identity = repr((incoming.account, primary_device(incoming.callback.devices))).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(identity, digest_size=8).digest(), "big", signed=True)


def entry_updates(lease: Lease, outcomes: Sequence[Outcome]) -> Iterator[EntryUpdate]:
    """Yield an update for each entry of a lease. After a gap or a failure, a batch has no further failed attempt."""
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
