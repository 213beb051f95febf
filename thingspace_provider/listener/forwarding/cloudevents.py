"""CloudEvent 1.0 of a stored message. Each attempt sends the same bytes.

| Attribute | Value |
|---|---|
| id | `{message id}-{digest}`: the id in `/v1/messages`, and a digest that makes it unique across listeners |
| source | `/thingspace/accounts/{account}` |
| type | one of `EVENT_TYPES` |
| subject | the device, for example `mdn:5551230001`; missing if ThingSpace named no device |
| time | when the listener received the callback |
| traceparent, tracestate | trace context of the callback; missing if it was stored without tracing |
| data | the message as in `/v1/messages`; with ThingSpace's body unless its kind is `text` |
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from urllib.parse import quote

from thingspace_provider.listener.message_json import message_to_json
from thingspace_provider.listener.model import CONFIRMATION, FAULT, OTHER, SENT, TEXT, StoredMessage, primary_device
from thingspace_provider.listener.timestamps import format_timestamp

CONTENT_TYPE = "application/cloudevents+json"  # without charset: SDKs look up exactly this
DIGEST_BYTES = 8
# The names begin with ThingSpace's domain, because ThingSpace defines the meaning of its callbacks.
EVENT_TYPES = {
    TEXT: "com.verizon.thingspace.sms.received",
    SENT: "com.verizon.thingspace.sms.sent",
    CONFIRMATION: "com.verizon.thingspace.sms.confirmed",
    FAULT: "com.verizon.thingspace.sms.failed",
    OTHER: "com.verizon.thingspace.callback.received",
}


@dataclass(frozen=True)
class CloudEvent:
    """Event in CloudEvents' JSON format, with its id and the device or account that it is ordered by.

    `headers` belong to one attempt and are not signed.
    """

    id: str
    partition_key: str
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()


def to_cloudevent(message: StoredMessage) -> CloudEvent:
    """Return the event of a message. Its partition key is the device, or the account if no device is named."""
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
        **(json.loads(message.trace_context) if message.trace_context else {}),
        "data": message_to_json(message, include_body=message.kind != TEXT),
    }
    body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
    return CloudEvent(event_id, device or message.account, body)


def _digest(message: StoredMessage) -> str:
    """Return hex digits that differ between the messages of two listeners that have the same id."""
    content = f"{message.id}\n{message.account}\n{message.received_at}\n".encode() + message.body
    return hashlib.sha256(content).hexdigest()[: 2 * DIGEST_BYTES]
