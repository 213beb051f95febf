"""A stored callback as everybody outside sees it: readers of the API and receivers of events alike."""

from __future__ import annotations

from typing import Any

from thingspace_provider.listener.store.base import StoredMessage
from thingspace_provider.listener.timestamps import format_timestamp


def message_to_json(message: StoredMessage, *, include_body: bool) -> dict[str, Any]:
    """A message; `whole`, as who asks for a kind wants it, with what the carrier said besides."""
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
