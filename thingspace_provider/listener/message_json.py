"""JSON of a stored message, for readers of the API and for receivers of events."""

from __future__ import annotations

from typing import Any

from thingspace_provider.listener.model import PENDING, DeliveryHistory, StoredMessage
from thingspace_provider.listener.timestamps import format_timestamp


def message_to_json(message: StoredMessage, *, include_body: bool) -> dict[str, Any]:
    """Return the JSON of a message, with kind, request id and body if `include_body`."""
    fields: dict[str, Any] = {
        "id": str(message.id),
        "account": message.account,
        "devices": [{"kind": device.kind, "id": device.id} for device in message.devices],
        "text": message.text,
        "receivedAt": format_timestamp(message.received_at),
        "duplicateOf": None if message.duplicate_of is None else str(message.duplicate_of),
    }
    if include_body:
        fields["kind"] = message.kind
        fields["requestId"] = message.request_id
        fields["body"] = message.body.decode("utf-8", "replace")
    return fields


def history_to_json(history: DeliveryHistory) -> dict[str, Any]:
    """Return the JSON of a message with its deliveries, one for each sink, as the store has them."""
    message = history.message
    return {
        **message_to_json(message, include_body=True),
        "storedAt": format_timestamp(message.stored_at),
        "deliveries": [
            {
                "sink": delivery.sink,
                "state": delivery.state,
                "attempts": delivery.attempts,
                "lastError": delivery.last_error,
                "updatedAt": format_optional(delivery.updated_at),
                "nextAttemptAt": format_optional(delivery.next_attempt_at if delivery.state == PENDING else None),
            }
            for delivery in history.deliveries
        ],
    }


def format_optional(microseconds: int | None) -> str | None:
    """Format a time, or return None without one."""
    return format_timestamp(microseconds) if microseconds else None
