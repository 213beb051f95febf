"""A stored callback as a CloudEvent 1.0, the same bytes however often it is sent.

| attribute | value |
|---|---|
| id | `{message id}-{digest}`: the id that `/v1/messages` has, and what makes it unique among listeners |
| source | `/thingspace/accounts/{account}` |
| type | by kind, see TYPES |
| subject | the device, as `mdn:5551230001`; absent when ThingSpace named none |
| time | when the listener received it |
| data | the message as `/v1/messages` shows it; for other kinds than texts with the carrier's body |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from urllib.parse import quote

from thingspace_provider.listener.callback_parser import CONFIRMATION, FAULT, OTHER, SENT, TEXT, device_of
from thingspace_provider.listener.message_json import shown
from thingspace_provider.listener.store.base import Stored
from thingspace_provider.listener.timestamps import iso

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
DIGEST = 8  # bytes
# Named after ThingSpace, because ThingSpace defines what they mean.
TYPES = {
    TEXT: "com.verizon.thingspace.sms.received",
    SENT: "com.verizon.thingspace.sms.sent",
    CONFIRMATION: "com.verizon.thingspace.sms.confirmed",
    FAULT: "com.verizon.thingspace.sms.failed",
    OTHER: "com.verizon.thingspace.callback.received",
}


@dataclass(frozen=True)
class Event:
    """One event, ready to be sent: its id, what it is ordered by, and the event in CloudEvents' JSON format."""

    id: str
    key: str
    body: bytes = field(repr=False)


def event_of(stored: Stored) -> Event:
    """The event of a stored callback. Its key is the device, or the account when ThingSpace named no device."""
    device = device_of(stored.devices)
    number = f"{stored.id}-{_digest(stored)}"
    event = {
        "specversion": "1.0",
        "id": number,
        "source": f"/thingspace/accounts/{quote(stored.account, safe='')}",
        "type": TYPES[stored.kind],
        **({"subject": device} if device else {}),
        "time": iso(stored.received),
        "datacontenttype": "application/json",
        "data": shown(stored, whole=stored.kind != TEXT),
    }
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return Event(number, device or stored.account, body)


def _digest(stored: Stored) -> str:
    """Tells the events of two listeners apart that count their messages alike; the same for ever."""
    said = f"{stored.id}\n{stored.account}\n{stored.received}\n".encode() + stored.raw
    return hashlib.sha256(said).hexdigest()[: 2 * DIGEST]
