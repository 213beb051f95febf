"""Order per device: callbacks of one account and device form a lane, and only the head of a lane is due.

Both stores keep the same invariant: a lane of a sink with waiting parcels has exactly one head, the one whose `due`
is not null. A claim moves the head's `due` to the end of its lease; so a dead taker's claims come free by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from thingspace_provider.listener.callback_parser import device_of
from thingspace_provider.listener.store.base import (
    DEAD,
    DELIVERED,
    WAITING,
    Arrival,
    Claim,
    Dead,
    Delivered,
    Failed,
    Outcome,
)


class Change(NamedTuple):
    """What a report does to one parcel. `tried` is 1 when it counts as an attempt; `wait` in microseconds or None."""

    id: int
    state: str
    tried: int
    reason: str | None
    wait: int | None


def lane(arrival: Arrival) -> int:
    """A signed 64-bit number. Two lanes that share one by chance are in order together, which harms nobody.

    The device is the one that events name, because ThingSpace does not always give all of its identifiers.
    """
    named = repr((arrival.account, device_of(arrival.callback.devices))).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "big", signed=True)


def changes(claim: Claim, outcomes: Sequence[Outcome]) -> Iterator[Change]:
    """One for each parcel of the claim. After a gap or a failure in a run no further failure counts: one head waits."""
    known = {outcome.id: outcome for outcome in outcomes}
    for run in claim.runs:
        whole = True
        for parcel in run:
            outcome = known.get(parcel.stored.id)
            if isinstance(outcome, Failed) and not whole:
                outcome = None
            whole = whole and isinstance(outcome, Delivered | Dead)
            yield _change(parcel.stored.id, outcome)


def _change(number: int, outcome: Outcome | None) -> Change:
    if isinstance(outcome, Delivered):
        return Change(number, DELIVERED, 1, None, None)
    if isinstance(outcome, Dead):
        return Change(number, DEAD, 1, outcome.reason, None)
    if isinstance(outcome, Failed):
        return Change(number, WAITING, 1, outcome.reason, max(1, int(outcome.wait * 1_000_000)))
    return Change(number, WAITING, 0, None, None)
