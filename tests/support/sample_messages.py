"""Sample of a stored message."""

from __future__ import annotations

from typing import Any

from thingspace_provider.listener.model import Device, StoredMessage


def build_stored_message(**changes: Any) -> StoredMessage:
    """Build a device message with changed fields of StoredMessage."""
    values: dict[str, Any] = {
        "id": 17,
        "account": "0000123456-00001",
        "kind": "text",
        "devices": (Device("iccid", "89148000001234567890"), Device("mdn", "5551230001")),
        "text": "T=21.5 °C",
        "request_id": None,
        "received_at": 1_772_352_930_250_000,
        "stored_at": 1_772_352_930_251_000,
        "duplicate_of": 16,
        "body": b'{"smsMessage": "T=21.5"}',
        **changes,
    }
    return StoredMessage(**values)
