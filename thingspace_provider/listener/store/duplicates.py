"""Finds the first of several deliveries of one callback.

ThingSpace repeats a delivery when the answer was slow, and a device text has no id. So
a second one is suspected, never dropped: by its request id when there is one, else by equal devices and content
within a window. An equal text after the window is a new text. A text that was read from ThingSpace's queue has the
time at which ThingSpace got it; the same text of the same time is the same text, whenever it is read, and repeats an
equal one that was posted within the window after that time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from thingspace_provider.listener.callback_parser import TEXT, Callback, reparse
from thingspace_provider.listener.store.base import IncomingCallback, MessageQuery, StoredMessage
from thingspace_provider.listener.store.query_sql import replace_nul
from thingspace_provider.listener.timestamps import parse_timestamp

WINDOW_US = 60_000_000  # microseconds
ID_BITS = 63
LARGEST_ID = (1 << ID_BITS) - 1
MAX_CLOCK_SKEW_US = 10_000_000  # by so much ThingSpace's clock may be ahead of ours
REDELIVERY_WINDOW_US = 10_000_000  # within which ThingSpace tries a second time what was not answered
MOST_OF_A_DEVICE = 1000  # texts within a window
MAX_REMEMBERED = (
    150_000  # texts remembered; under more than 2,500 a second the window becomes shorter, not the memory larger
)


def dedup_key(arrival: IncomingCallback) -> str | None:
    """What two deliveries of one request, or two readings of one queued text, have in common; None for others.

    All notices about one message to many devices share its request id, so that they differ by device and content.
    """
    callback = arrival.callback
    if callback.queued_at:
        return "\n".join(("queued", callback.queued_at, repr(sorted(callback.devices)), callback.content))
    if callback.request_id is None or callback.kind == TEXT:
        return callback.request_id
    return "\n".join((callback.request_id, callback.kind, repr(sorted(callback.devices)), callback.content))


def window_key(arrival: IncomingCallback) -> tuple[object, ...]:
    """What two deliveries without a request id have in common."""
    callback = arrival.callback
    return (arrival.account, callback.kind, tuple(sorted(callback.devices)), callback.content)


class QueuedDuplicateFinder:
    """Finds what ThingSpace posted here and queued all the same, because no good answer reached it.

    What was posted accounts for one queued text only: another is another text. What was posted twice in a row counts
    once, because ThingSpace tries again before it queues. Used by one thread.

    Args:
        read_stored: reads what is stored, or raises.
    """

    def __init__(self, read_stored: Callable[[MessageQuery], list[StoredMessage]]) -> None:
        self._read_stored = read_stored
        self._queued: dict[int, int] = {}  # by the ids of what was posted: ThingSpace's time of the queued text

    def first(self, account: str, queued: Callback) -> int | None:
        """The id that a queued text repeats, the same one whenever it is read. Raises what `read_stored` raises."""
        try:
            at = parse_timestamp(queued.queued_at or "")
        except ValueError:
            return None
        free = [one for one in self._equal(account, queued, at) if self._queued.get(one.id, at) == at]
        if not free:
            return None
        nearest = min(free, key=lambda one: (one.id not in self._queued, abs(one.received_at - at)))
        self._queued.update(
            (one.id, at) for one in free if abs(one.received_at - nearest.received_at) <= REDELIVERY_WINDOW_US
        )
        while len(self._queued) > MAX_REMEMBERED:
            del self._queued[next(iter(self._queued))]
        return nearest.duplicate_of or nearest.id

    def _equal(self, account: str, queued: Callback, at: int) -> Iterator[StoredMessage]:
        """What was posted at that time. What came out of the queue itself has a time of its own: another text."""
        text = replace_nul(queued.text or "")
        for device in queued.devices:
            of_device = MessageQuery(
                limit=MOST_OF_A_DEVICE,
                account=account,
                kind=TEXT,
                device=device.id,
                device_kind=device.kind,
                received_from=at - MAX_CLOCK_SKEW_US,
                received_until=at + WINDOW_US,
            )
            for one in self._read_stored(of_device):
                is_equal = replace_nul(one.text or "") == text
                if is_equal and reparse(one.kind, one.body).queued_at is None:
                    yield one


class DuplicateWindow:
    """The first deliveries of the last minute, by a hash of account, kind, devices and content."""

    def __init__(self) -> None:
        self._firsts: dict[int, int] = {}  # received and id in one number: a tuple takes three times the memory
        self._order: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def first(self, arrival: IncomingCallback, number: int) -> int | None:
        """The id of the one this repeats; None, and remembered as `number`, if it is the first."""
        key = hash(window_key(arrival))
        known = self._firsts.get(key)
        if known is not None and abs(arrival.received - (known >> ID_BITS)) <= WINDOW_US:
            return known & LARGEST_ID
        self._firsts[key] = arrival.received << ID_BITS | number
        self._order.append(key)
        self._forget(arrival.received)
        return None

    def _forget(self, now: int) -> None:
        """What was received again meanwhile goes when that is old; until then it keeps what follows it."""
        while len(self._order) > MAX_REMEMBERED or self._firsts.get(self._order[0], 0) >> ID_BITS < now - WINDOW_US:
            self._firsts.pop(self._order.popleft(), None)
