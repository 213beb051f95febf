"""Detection of duplicates.

ThingSpace sends a callback again after a slow response, and a device message has no id. So a duplicate is marked,
never dropped. The rules:

| Callback | Duplicate of the first message with |
|---|---|
| with a request id | the same account and request id; for other kinds than device messages also devices and content |
| without a request id | the same account, kind, devices and content, within WINDOW_US |
| read from ThingSpace's queue | the same queue time, devices and text; or posted within WINDOW_US after that time |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from thingspace_provider.listener.callback_parser import reparse
from thingspace_provider.listener.model import TEXT, Callback, IncomingCallback, MessageQuery, StoredMessage
from thingspace_provider.listener.store.query_sql import replace_nul
from thingspace_provider.listener.timestamps import parse_timestamp

WINDOW_US = 60_000_000
ID_BITS = 63
MAX_ID = (1 << ID_BITS) - 1
MAX_CLOCK_SKEW_US = 10_000_000  # of ThingSpace's clock ahead of this machine's
REDELIVERY_WINDOW_US = 10_000_000  # ThingSpace retries a callback without a response within it
MAX_MESSAGES_PER_DEVICE = 1000  # within WINDOW_US
MAX_REMEMBERED = 150_000  # posted messages that have a queue time
GENERATION_SIZE = 87_000  # messages, which fill a hash table; more than 1,450 a second shorten the window


def dedup_key(incoming: IncomingCallback) -> str | None:
    """Return a key that duplicates share: of one request, or of one message in the queue. None without either.

    All status callbacks about a message to many devices share its request id; they differ in devices and content.
    """
    callback = incoming.callback
    if callback.queued_at:
        return "\n".join(("queued", callback.queued_at, repr(sorted(callback.devices)), callback.content))
    if callback.request_id is None or callback.kind == TEXT:
        return callback.request_id
    return "\n".join((callback.request_id, callback.kind, repr(sorted(callback.devices)), callback.content))


def window_key(incoming: IncomingCallback) -> tuple[object, ...]:
    """Return a key that duplicates without a request id share."""
    callback = incoming.callback
    return (incoming.account, callback.kind, tuple(sorted(callback.devices)), callback.content)


class QueuedDuplicateFinder:
    """Finds posted messages that ThingSpace has also queued, because it received no acknowledgement.

    A posted message matches one queued message only: an equal one with another queue time is another message. Posted
    duplicates within REDELIVERY_WINDOW_US match together, because ThingSpace retries before it queues. Not
    thread-safe.

    Args:
        find_messages: returns stored messages, or raises.
    """

    def __init__(self, find_messages: Callable[[MessageQuery], list[StoredMessage]]) -> None:
        self._find_messages = find_messages
        self._queued_at_by_id: dict[int, int] = {}  # by the ids of posted messages

    def find_original(self, account: str, callback: Callback) -> int | None:
        """Return the id of the message that a queued message repeats, or None. Repeated calls return the same id."""
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
            candidates,
            key=lambda message: (message.id not in self._queued_at_by_id, abs(message.received_at - queued_at)),
        )
        self._queued_at_by_id.update(
            (message.id, queued_at)
            for message in candidates
            if abs(message.received_at - nearest.received_at) <= REDELIVERY_WINDOW_US
        )
        while len(self._queued_at_by_id) > MAX_REMEMBERED:
            del self._queued_at_by_id[next(iter(self._queued_at_by_id))]
        return nearest.duplicate_of or nearest.id

    def _find_equal(self, account: str, callback: Callback, queued_at: int) -> Iterator[StoredMessage]:
        """Yield equal messages that were posted at that time. Messages from the queue have their own queue time."""
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
    """First messages of the last WINDOW_US without a request id, by a hash of their key.

    There are two generations. A new one begins when the current one is full or older than WINDOW_US, and the one before
    it is dropped as a whole. So memory is allocated in equal pieces, which leaves no gaps.
    """

    def __init__(self) -> None:
        self._current: dict[int, int] = {}  # received_at and id in one number: a tuple takes three times the memory
        self._previous: dict[int, int] = {}
        self._started_at = 0

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)

    def find_or_add(self, incoming: IncomingCallback, message_id: int) -> int | None:
        """Return the id of the message that this one repeats; or None, and remember it as a first message."""
        key = hash(window_key(incoming))
        original = self._current.get(key) or self._previous.get(key)
        if original is not None and abs(incoming.received_at - (original >> ID_BITS)) <= WINDOW_US:
            return original & MAX_ID
        is_old = abs(incoming.received_at - self._started_at) > WINDOW_US  # also when the clock was set back
        if is_old or len(self._current) == GENERATION_SIZE:
            self._previous, self._current, self._started_at = self._current, {}, incoming.received_at
        self._current[key] = incoming.received_at << ID_BITS | message_id
        return None
