"""Parser of callback bodies. It is tolerant, and keeps the body byte for byte without its credential.

ThingSpace documents no captured body of a device message. So any JSON object with a valid credential is accepted:
unknown and missing fields are ignored, and a message that is not a string is kept as JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from json.scanner import make_scanner
from typing import Any

from thingspace_provider.listener.model import CONFIRMATION, FAULT, OTHER, SENT, TEXT, Callback, Device

SECRET_FIELDS = ("username", "password")
PER_ATTEMPT_FIELDS = ("callbackCount", "maxCallbackThreshold")  # differ between two deliveries of one callback
# Children of deviceResponse that belong to other services.
OTHER_SERVICES = re.compile(r"(de)?activate|suspend|restore|changeIdentifier|prlInformation|usage", re.IGNORECASE)
WHITESPACE = " \t\n\r"
OBJECT_START = re.compile(rf"[{WHITESPACE}]*\{{[{WHITESPACE}]*(\}}?)")
NAME_START = re.compile(rf'[{WHITESPACE}]*(?=")')
COLON = re.compile(rf"[{WHITESPACE}]*:[{WHITESPACE}]*")
MEMBER_END = re.compile(rf"[{WHITESPACE}]*([,}}])")
SURROGATE = re.compile("[\ud800-\udfff]")
# Numbers stay strings, because an identifier must not be rounded.
scan_value = make_scanner(json.JSONDecoder(strict=False, parse_int=str, parse_float=str))  # type: ignore[arg-type]  # typeshed is wrong


class MalformedBody(Exception):
    """The body is not a JSON object."""


@dataclass(slots=True)
class UnverifiedBody:
    """A JSON body whose user name and password are not verified yet."""

    username: object = field(repr=False)
    password: object = field(repr=False)
    fields: dict[str, Any] = field(repr=False)
    members: tuple[tuple[str, str], ...] = field(repr=False)

    def to_callback(self) -> Callback:
        """Return the callback."""
        message = self.fields.get("smsMessage")
        text = None if message is None else _to_text(message)
        kind = _classify(self.fields) if text is None else TEXT
        content_members = [written for name, written in self.members if name not in PER_ATTEMPT_FIELDS]
        request_id = self.fields.get("requestId")
        return Callback(
            kind=kind,
            devices=_parse_devices(self.fields.get("deviceIds")),
            text=text,
            request_id=_to_text(request_id) if request_id else None,
            content=",".join(content_members) if text is None else text,
            body=f"{{{','.join(written for _, written in self.members)}}}".encode("utf-8", "surrogateescape"),
        )


def parse_body(body: bytes) -> UnverifiedBody:
    """Decode a body. Raises MalformedBody.

    Bytes that are not UTF-8 are accepted: the stored body keeps them, and JSON shows them as U+FFFD.
    """
    source = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    try:
        members = _parse_members(source)
    except (ValueError, StopIteration, RecursionError):
        raise MalformedBody from None
    fields = {name: value for name, value, _ in members}
    public_members = tuple((name, written) for name, _, written in members if name.lower() not in SECRET_FIELDS)
    return UnverifiedBody(fields.get("username"), fields.get("password"), fields, public_members)


def parse_history_message(entry: dict[str, Any]) -> Callback:
    """Parse a message of a history page: `deviceIds`, `message`, `timestamp`."""
    content = entry.get("message")
    text = "" if content is None else _to_text(content)
    body = json.dumps(entry).encode()
    timestamp = entry.get("timestamp")
    return Callback(
        TEXT, _parse_devices(entry.get("deviceIds")), text, None, text, body, _to_text(timestamp) if timestamp else ""
    )


def reparse(kind: str, body: bytes) -> Callback:
    """Parse a stored body again. A body of kind TEXT that is no posted device message is from a history page."""
    callback = parse_body(body).to_callback()
    return parse_history_message(json.loads(body)) if kind == TEXT != callback.kind else callback


def _parse_members(source: str) -> list[tuple[str, Any, str]]:
    """Return name, value and source text of each member of the object. Raises ValueError or StopIteration."""
    members = []
    match = _match(OBJECT_START, source, 0)
    delimiter = match[1] or ","
    while delimiter == ",":
        start = _match(NAME_START, source, match.end()).end()
        name, end = scan_value(source, start)
        value, end = scan_value(source, _match(COLON, source, end).end())
        members.append((name, value, source[start:end]))
        match = _match(MEMBER_END, source, end)
        delimiter = match[1]
    if source[match.end() :].strip(WHITESPACE):
        raise ValueError("more than one object")
    return members


def _match(pattern: re.Pattern[str], source: str, position: int) -> re.Match[str]:
    match = pattern.match(source, position)
    if match is None:
        raise ValueError("not an object")
    return match


def _classify(fields: dict[str, Any]) -> str:
    """Return the kind. A fault is at the top or in the delivery response; empty fault fields mean no fault."""
    response = fields.get("deviceResponse")
    children = response if isinstance(response, dict) else {}
    delivery = children.get("smsDeliveryResponse")
    inner = delivery.get("faultResponse") if isinstance(delivery, dict) else None
    if _is_present(fields.get("faultResponse")) or _is_present(inner):
        return FAULT
    if "smsDeliveryResponse" in children:
        return CONFIRMATION
    if "niddResponse" in fields or any(OTHER_SERVICES.match(name) for name in children):
        return OTHER
    status = fields.get("status")
    return FAULT if isinstance(status, str) and status.lower() == "failed" else SENT


def _is_present(fault: object) -> bool:
    return any(fault.values()) if isinstance(fault, dict) else bool(fault)


def _parse_devices(value: object) -> tuple[Device, ...]:
    entries = value if isinstance(value, list) else [value]
    return tuple(
        Device(_to_text(entry.get("kind") or "").lower(), _to_text(entry["id"]))
        for entry in entries
        if isinstance(entry, dict) and entry.get("id")
    )


def _to_text(value: object) -> str:
    """Return a string as it is, and any other value as JSON. Surrogates become U+FFFD."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)
