"""A stored callback as everybody outside sees it: readers of the API and receivers of events alike."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from thingspace_provider.listener.store import Stored

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def shown(stored: Stored, *, whole: bool) -> dict[str, Any]:
    """A message; `whole`, as who asks for a kind wants it, with what the carrier said besides."""
    message: dict[str, Any] = {
        "id": str(stored.id),
        "account": stored.account,
        "devices": [{"kind": device.kind, "id": device.id} for device in stored.devices],
        "text": stored.text,
        "receivedAt": iso(stored.received),
        "duplicateOf": None if stored.duplicate_of is None else str(stored.duplicate_of),
    }
    if whole:
        message["kind"] = stored.kind
        message["requestId"] = stored.request_id
        message["body"] = stored.raw.decode("utf-8", "replace")
    return message


def iso(microseconds: int) -> str:
    """Microseconds after 1970 as `2026-03-01T08:15:30.250Z`."""
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
