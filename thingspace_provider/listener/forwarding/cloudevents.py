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

from thingspace_provider.listener.message_json import message_to_json
from thingspace_provider.listener.model import CONFIRMATION, FAULT, OTHER, SENT, TEXT, StoredMessage, primary_device
from thingspace_provider.listener.timestamps import format_timestamp

CONTENT_TYPE = "application/cloudevents+json; charset=UTF-8"
DIGEST_BYTES = 8  # bytes
# Named after ThingSpace, because ThingSpace defines what they mean.
EVENT_TYPES = {
    TEXT: "com.verizon.thingspace.sms.received",
    SENT: "com.verizon.thingspace.sms.sent",
    CONFIRMATION: "com.verizon.thingspace.sms.confirmed",
    FAULT: "com.verizon.thingspace.sms.failed",
    OTHER: "com.verizon.thingspace.callback.received",
}


@dataclass(frozen=True)
class CloudEvent:
    """One event, ready to be sent: its id, what it is ordered by, and the event in CloudEvents' JSON format."""

    id: str
    partition_key: str
    body: bytes = field(repr=False)


def to_cloudevent(message: StoredMessage) -> CloudEvent:
    """The event of a stored callback. Its key is the device, or the account when ThingSpace named no device."""
    device = primary_device(message.devices)
    event_id = f"{message.id}-{_digest(message)}"
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/thingspace/accounts/{quote(message.account, safe='')}",
        "type": EVENT_TYPES[message.kind],
        **({"subject": device} if device else {}),
        "time": format_timestamp(message.received_at),
        "datacontenttype": "application/json",
        "data": message_to_json(message, include_body=message.kind != TEXT),
    }
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return CloudEvent(event_id, device or message.account, body)


def _digest(message: StoredMessage) -> str:
    """Tells the events of two listeners apart that count their messages alike; the same for ever."""
    content = f"{message.id}\n{message.account}\n{message.received_at}\n".encode() + message.body
    return hashlib.sha256(content).hexdigest()[: 2 * DIGEST_BYTES]
