"""Plain data of the listener: callbacks, messages, queries and deliveries. Times are microseconds after 1970."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

TEXT, SENT, CONFIRMATION, FAULT, OTHER = KINDS = ("text", "sent", "confirmation", "fault", "other")
PENDING, DELIVERED, DEAD_LETTER, DISCARDED = STATES = ("pending", "delivered", "dead_letter", "discarded")
PHONE_NUMBER_KINDS = ("mdn", "msisdn")


class Device(NamedTuple):
    """Identifier of a device. `kind` is in lower case, because ThingSpace varies it."""

    kind: str
    id: str


def primary_device(devices: Sequence[Device]) -> str:
    """Return one name for a device, as `mdn:5551230001`, for any order of its identifiers; "" without any.

    A phone number comes first, because messages with fewer identifiers have at least that one.
    """
    ordered = sorted(devices, key=lambda device: (device.kind not in PHONE_NUMBER_KINDS, device))
    return f"{ordered[0].kind}:{ordered[0].id}" if ordered else ""


class Callback(NamedTuple):
    """A parsed callback body.

    Args:
        kind: one of KINDS: a device message, a notification that the network sent a message to a device, a delivery
            confirmation, a fault, or a callback of another service.
        devices: identifiers in their order in the body, without entries that have no id.
        text: the content of a device message, or None for any other kind.
        request_id: ThingSpace's id, or None: device messages can have none.
        content: equal for duplicates of the same kind and devices.
        body: the body without user name and password, otherwise byte for byte.
        queued_at: ThingSpace's time of a message from its queue, as the queue has it, "" without one; None for a
            posted callback.
    """

    kind: str
    devices: tuple[Device, ...]
    text: str | None
    request_id: str | None
    content: str
    body: bytes
    queued_at: str | None = None


class IncomingCallback(NamedTuple):
    """A callback that is not stored yet. `received_at` is by the clock of this listener.

    `duplicate_of` is the id of a message that it is known to repeat, for a duplicate that the store cannot find.
    `trace_context` is a JSON object with `traceparent` and possibly `tracestate`, None without tracing.
    """

    account: str
    received_at: int
    callback: Callback
    duplicate_of: int | None = None
    trace_context: str | None = None


@dataclass(frozen=True)
class StoredMessage:
    """A stored callback of any kind. Ids grow in commit order.

    `stored_at` is the time at which its transaction began; `duplicate_of` is the id of the message that it seems to
    repeat. `trace_context` is that of the IncomingCallback.
    """

    id: int
    account: str
    kind: str
    devices: tuple[Device, ...]
    text: str | None
    request_id: str | None
    received_at: int
    stored_at: int
    duplicate_of: int | None
    body: bytes
    trace_context: str | None = None


@dataclass(frozen=True)
class MessageQuery:
    """Query for at most `limit` messages with ids above `after` and below `before`. None matches every message.

    `device` is an identifier in either case, `device_kind` narrows it; `received_from` and `received_until` are
    included; `contains` is a part of the text, with ASCII letters in either case. `newest` selects the newest messages
    instead of the oldest. The result is in ascending order of ids.
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
    """State of a message at one sink.

    Args:
        state: one of STATES.
        attempts: attempts since the message was stored or last retried by an operator.
        last_error: of the last failed attempt, or None.
        updated_at: time of the last outcome or change, or None.
        next_attempt_at: 0 for at once; None if an older entry of the device is delivered first, or without a next
            attempt. While the entry is leased, the end of the lease.
    """

    sink: str
    state: str
    attempts: int
    last_error: str | None
    updated_at: int | None
    next_attempt_at: int | None


@dataclass(frozen=True)
class OutboxEntry:
    """Outbox entry: a message that one sink must still receive, with its delivery state."""

    message: StoredMessage
    delivery: Delivery


@dataclass(frozen=True)
class DeliveryHistory:
    """All deliveries of one message."""

    message: StoredMessage
    deliveries: tuple[Delivery, ...]
