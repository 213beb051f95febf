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
MAX_ID = (1 << ID_BITS) - 1
MAX_CLOCK_SKEW_US = 10_000_000  # by so much ThingSpace's clock may be ahead of ours
REDELIVERY_WINDOW_US = 10_000_000  # within which ThingSpace tries a second time what was not answered
MAX_MESSAGES_PER_DEVICE = 1000  # texts within a window
MAX_REMEMBERED = (
    150_000  # texts remembered; under more than 2,500 a second the window becomes shorter, not the memory larger
)


def dedup_key(incoming: IncomingCallback) -> str | None:
    """What two deliveries of one request, or two readings of one queued text, have in common; None for others.

    All notices about one message to many devices share its request id, so that they differ by device and content.
    """
    callback = incoming.callback
    if callback.queued_at:
        return "\n".join(("queued", callback.queued_at, repr(sorted(callback.devices)), callback.content))
    if callback.request_id is None or callback.kind == TEXT:
        return callback.request_id
    return "\n".join((callback.request_id, callback.kind, repr(sorted(callback.devices)), callback.content))


def window_key(incoming: IncomingCallback) -> tuple[object, ...]:
    """What two deliveries without a request id have in common."""
    callback = incoming.callback
    return (incoming.account, callback.kind, tuple(sorted(callback.devices)), callback.content)


class QueuedDuplicateFinder:
    """Finds what ThingSpace posted here and queued all the same, because no good answer reached it.

    What was posted accounts for one queued text only: another is another text. What was posted twice in a row counts
    once, because ThingSpace tries again before it queues. Used by one thread.

    Args:
        read_stored: reads what is stored, or raises.
    """

    def __init__(self, find_messages: Callable[[MessageQuery], list[StoredMessage]]) -> None:
        self._find_messages = find_messages
        self._queued_at_by_id: dict[
            int, int
        ] = {}  # by the ids of what was posted: ThingSpace's time of the queued text

    def find_original(self, account: str, callback: Callback) -> int | None:
        """The id that a queued text repeats, the same one whenever it is read. Raises what `read_stored` raises."""
        try:
            queued_at = parse_timestamp(callback.queued_at or "")
        except ValueError:
            return None
        candidates = [
            message
            for message in self._find_equal(account, callback, queued_at)
            if self._queued_at_by_id.get(message.id, queued_at) == queued_at
        ]
        if not candidates:
            return None
        nearest = min(
            candidates, key=lambda one: (one.id not in self._queued_at_by_id, abs(one.received_at - queued_at))
        )
        self._queued_at_by_id.update(
            (one.id, queued_at)
            for one in candidates
            if abs(one.received_at - nearest.received_at) <= REDELIVERY_WINDOW_US
        )
        while len(self._queued_at_by_id) > MAX_REMEMBERED:
            del self._queued_at_by_id[next(iter(self._queued_at_by_id))]
        return nearest.duplicate_of or nearest.id

    def _find_equal(self, account: str, callback: Callback, queued_at: int) -> Iterator[StoredMessage]:
        """What was posted at that time. What came out of the queue itself has a time of its own: another text."""
        text = replace_nul(callback.text or "")
        for device in callback.devices:
            query = MessageQuery(
                limit=MAX_MESSAGES_PER_DEVICE,
                account=account,
                kind=TEXT,
                device=device.id,
                device_kind=device.kind,
                received_from=queued_at - MAX_CLOCK_SKEW_US,
                received_until=queued_at + WINDOW_US,
            )
            for message in self._find_messages(query):
                is_equal = replace_nul(message.text or "") == text
                if is_equal and reparse(message.kind, message.body).queued_at is None:
                    yield message


class DuplicateWindow:
    """The first deliveries of the last minute, by a hash of account, kind, devices and content."""

    def __init__(self) -> None:
        self._originals: dict[int, int] = {}  # received and id in one number: a tuple takes three times the memory
        self._order: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def find_or_add(self, incoming: IncomingCallback, message_id: int) -> int | None:
        """The id of the one this repeats; None, and remembered as `number`, if it is the first."""
        key = hash(window_key(incoming))
        original = self._originals.get(key)
        if original is not None and abs(incoming.received_at - (original >> ID_BITS)) <= WINDOW_US:
            return original & MAX_ID
        self._originals[key] = incoming.received_at << ID_BITS | message_id
        self._order.append(key)
        self._evict_expired(incoming.received_at)
        return None

    def _evict_expired(self, now: int) -> None:
        """What was received again meanwhile goes when that is old; until then it keeps what follows it."""
        while len(self._order) > MAX_REMEMBERED or self._originals.get(self._order[0], 0) >> ID_BITS < now - WINDOW_US:
            self._originals.pop(self._order.popleft(), None)
