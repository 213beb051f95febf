"""A stored callback as everybody outside sees it: readers of the API and receivers of events alike."""

from __future__ import annotations

from typing import Any

from thingspace_provider.listener.store.base import StoredMessage
from thingspace_provider.listener.timestamps import format_timestamp


def message_to_json(stored: StoredMessage, *, include_body: bool) -> dict[str, Any]:
    """A message; `whole`, as who asks for a kind wants it, with what the carrier said besides."""
    message: dict[str, Any] = {
        "id": str(stored.id),
        "account": stored.account,
        "devices": [{"kind": device.kind, "id": device.id} for device in stored.devices],
        "text": stored.text,
        "receivedAt": format_timestamp(stored.received_at),
        "duplicateOf": None if stored.duplicate_of is None else str(stored.duplicate_of),
    }
    if include_body:
        message["kind"] = stored.kind
        message["requestId"] = stored.request_id
        message["body"] = stored.body.decode("utf-8", "replace")
    return message
