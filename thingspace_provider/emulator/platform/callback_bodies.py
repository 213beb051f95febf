"""Bodies of callbacks, as ThingSpace posts them to listeners."""

from __future__ import annotations

import json
from typing import Any

from thingspace_provider.emulator.platform.switches import Switches

ESCAPED = {character: f"\\u{ord(character):04x}" for character in "=&<>'"}


def build_message_body(message: str, ids: dict[str, str], request_id: str, switches: Switches) -> dict[str, Any]:
    """Build the callback of a device message. The minimal body has only the documented fields."""
    body: dict[str, Any] = {"requestId": request_id} if switches["callbackBody"] == "modern" else {}
    return {**body, "deviceIds": list_device_ids(ids, switches), "smsMessage": message}


def build_sent_body(ids: dict[str, str], request_id: str, switches: Switches) -> dict[str, Any]:
    """Build the callback of an outbound message that the network has sent. It has no `smsMessage`."""
    return {
        "requestId": request_id,
        "deviceIds": list_device_ids(ids, switches),
        "deviceResponse": {"smsDeliveryResponse": {"confirmation": "Sent"}},
        "status": "Success",
    }


def build_confirmation_body(
    ids: dict[str, str], request_id: str, confirmation: str, switches: Switches
) -> dict[str, Any]:
    """Build the callback of an outbound message that is `Delivered` or `Expired`."""
    return {
        "requestId": request_id,
        "deviceIds": list_device_ids(ids, switches),
        "deviceResponse": {"smsDeliveryResponse": {"confirmation": confirmation}},
        "status": "Success" if confirmation == "Delivered" else "Failed",
    }


def list_device_ids(ids: dict[str, str], switches: Switches) -> list[dict[str, str]]:
    """List the device's own identifiers in lower case, or six in upper case, with missing ones derived from its MDN."""
    if switches["callbackDeviceIds"] == "mdnIccid":
        return [{"id": value, "kind": kind} for kind, value in ids.items()]
    digits = "".join(character for value in ids.values() for character in value if character.isdigit())
    mdn = ids.get("mdn", digits[-10:].rjust(10, "5"))
    derived = {
        "mdn": mdn,
        "iccid": f"8914800000{mdn}",
        "imei": f"99000{mdn}",
        "imsi": f"31148{mdn}",
        "msisdn": f"1{mdn}",
        "min": mdn,
    }
    return [{"id": value, "kind": kind.upper()} for kind, value in {**derived, **ids}.items()][:6]


def encode_body(
    body: dict[str, Any], username: str, password: str, attempt: int, threshold: int, switches: Switches
) -> bytes:
    """Encode the body of one attempt, with credentials and, if it has a request id, the attempt counts."""
    callback: dict[str, Any] = {"username": username, "password": password, **body}
    if "requestId" in body:
        callback |= {"callbackCount": attempt, "maxCallbackThreshold": threshold}
    escaping = switches["escaping"]
    if escaping == "double" and "smsMessage" in callback:
        callback["smsMessage"] = _escape(callback["smsMessage"])
    document = json.dumps(callback, ensure_ascii=False, separators=(",", ":"))
    return (_escape(document) if escaping == "single" else document).encode()


def _escape(text: str) -> str:
    for character, escaped in ESCAPED.items():
        text = text.replace(character, escaped)
    return text
