"""Request bodies of the m2m calls, validated in the order that ThingSpace's error codes suggest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from thingspace_provider.emulator.api.responses import CALLBACK_PREFIX, SMS_PREFIX, rejection
from thingspace_provider.emulator.platform.state import Registration
from thingspace_provider.emulator.platform.switches import Switches

SERVICES = (
    "EnhancedConnectivityService",
    "SMSDeliveryConfirmation",
    "CarrierService",
    "DeviceService",
    "DevicePRLInformation",
    "DeviceSuspensionStatus",
    "DeviceUsage",
    "StateService",
    "ExternalProvisioningChanges",
    "PromoChanges",
    "ResumeTrackingNotification",
    "NiddService",
    "AlertService",
    "DeviceProfileService",
    "DiagnosticsService",
    "SubscriptionNotificationService",
    "IntelligenceService",
    "DevicePromoUsage",
    "ExtendedEnhancedConnectivityService",
    "NetworkEventService",
    "PwnService",
    "QoS",
    "VIPCallbackService",
)

PORT_RANGES = {
    "documented": (range(80, 81), range(443, 444), range(9001, 9007), range(28200, 28221), range(50551, 50560)),
    "without28200": (range(80, 81), range(443, 444), range(9001, 9007), range(50551, 50560)),
    "any": (range(1, 65536),),
}

DEVICE_ID_PATTERNS = {
    "esn": r"\d{11}|[0-9A-Fa-f]{8}",
    "iccid": r"\d{1,20}",
    "imei": r"\d{14,16}",
    "imsi": r"\d{14,15}",
    "mdn": r"\d{10}",
    "meid": r"[0-9A-Fa-f]{14}",
    "msisdn": r"\d{11}",
    "eid": r"\d{32}",
}

ENCODINGS = ("7-bit", "8-bit-ASCII", "8-bit-UTF-8", "8-bit-DATA")
MAX_DEVICES = 200
MAX_BULK_DEVICES = 10_000
DEFAULT_TTL_SECONDS = 5 * 24 * 3600
MAX_CREDENTIAL_LENGTH = 40
MAX_CUSTOM_FIELD_LENGTH = 50
TIME_TO_LIVE = re.compile(r"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)\d{3}R")


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Body of sendSms. `devices` are (kind, identifier) pairs."""

    account: str | None
    message: str
    devices: tuple[tuple[str, str], ...]
    group: str | None
    plan: str | None
    custom_fields: tuple[tuple[str, str], ...]
    ttl_seconds: float


def parse_object(body: bytes, prefix: str, switches: Switches) -> dict[str, Any]:
    """Parse the JSON object of a body. Raises RequestRejected."""
    if not body.strip():
        raise rejection(prefix, "INPUT_INVALID.RequestUndefined", "The request body is empty.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise rejection(prefix, "DeserializationFailed", "The request body is not a JSON object.")
    for string in _iterate_strings(value):
        if any("\ud800" <= character <= "\udfff" for character in string):
            raise rejection(prefix, "DeserializationFailed", "The request body is not Unicode text.")
        if switches["invalidCharacters"] == "rejected" and any(character in string for character in "'<\\"):
            raise rejection(prefix, "INPUT_INVALID.Request.InvalidCharacter", "The request holds an invalid character.")
    return value


def required_string(value: dict[str, Any], name: str, prefix: str) -> str:
    """Return a required string. Raises RequestRejected."""
    if value.get(name) is None:
        raise rejection(prefix, "DeserializationFailed", f"The element {name} is missing.")
    return _require_string(value[name], name, prefix)


def optional_string(value: dict[str, Any], name: str, prefix: str) -> str | None:
    """Return a string, or `None` if it is absent or null. Raises RequestRejected."""
    return None if value.get(name) is None else _require_string(value[name], name, prefix)


def parse_registration(body: bytes, switches: Switches) -> tuple[str, Registration]:
    """Parse the body of registerCallback to service and registration. Raises RequestRejected."""
    value = parse_object(body, CALLBACK_PREFIX, switches)
    service, url = required_string(value, "name", CALLBACK_PREFIX), required_string(value, "url", CALLBACK_PREFIX)
    username, password = (optional_string(value, name, CALLBACK_PREFIX) for name in ("username", "password"))
    registration = Registration(url, username, password)
    check_registration(service, registration, switches)
    return service, registration


def check_registration(service: str, registration: Registration, switches: Switches) -> None:
    """Check a registration. Raises RequestRejected; codes with `Emulator` are invented, the real ones are unknown."""
    if service not in SERVICES:
        raise rejection(CALLBACK_PREFIX, "INPUT_INVALID.Emulator.ServiceName", "There is no such callback service.")
    _check_url(registration.url, switches["registrationPorts"])
    if max(len(registration.username or ""), len(registration.password or "")) > MAX_CREDENTIAL_LENGTH:
        raise rejection(
            CALLBACK_PREFIX, "INPUT_INVALID.Emulator.CredentialTooLong", "A credential has at most 40 characters."
        )


def parse_send(body: bytes, switches: Switches) -> SendRequest:
    """Parse the body of sendSms. Raises RequestRejected."""
    value = parse_object(body, SMS_PREFIX, switches)
    account = optional_string(value, "accountName", SMS_PREFIX)
    if account == "":
        raise rejection(SMS_PREFIX, "INPUT_INVALID.Account.NotDefined", "The account name is empty.")
    message = optional_string(value, "smsMessage", SMS_PREFIX)
    if not message:
        raise rejection(SMS_PREFIX, "INPUT_INVALID.SmsMessage.Null", "The message is empty.")
    encoding = optional_string(value, "dataEncoding", SMS_PREFIX) or ENCODINGS[0]
    if encoding not in ENCODINGS:
        raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "The data encoding is unknown.")
    length = len(message.encode()) if encoding == "8-bit-UTF-8" else len(message)
    if length > (160 if encoding == "7-bit" else 140):
        raise rejection(SMS_PREFIX, "INPUT_INVALID.SmsMessage.TooLong", "The message is too long.")
    request = SendRequest(
        account=account,
        message=message,
        devices=_parse_device_ids(value.get("deviceIds")),
        group=optional_string(value, "groupName", SMS_PREFIX),
        plan=optional_string(value, "servicePlan", SMS_PREFIX),
        custom_fields=_parse_custom_fields(value.get("customFields")),
        ttl_seconds=_parse_ttl(optional_string(value, "timeToLive", SMS_PREFIX)),
    )
    if not (request.devices or request.group or request.plan or request.custom_fields):
        raise rejection(SMS_PREFIX, "DeserializationFailed", "The element deviceIds is missing.")
    return request


def parse_device_id(value: Any) -> tuple[str, str]:
    """Parse `{"kind", "id"}` to (lower-case kind, identifier). Raises RequestRejected."""
    if not isinstance(value, dict):
        raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "A device identifier is not an object.")
    kind, identifier = required_string(value, "kind", SMS_PREFIX).lower(), required_string(value, "id", SMS_PREFIX)
    if kind not in DEVICE_ID_PATTERNS:
        raise rejection(SMS_PREFIX, "INPUT_INVALID.Device.Kind.Invalid", "The device kind is unknown.")
    if not re.fullmatch(DEVICE_ID_PATTERNS[kind], identifier, re.ASCII):
        raise rejection(SMS_PREFIX, "INPUT_INVALID.Device.Identifier.Invalid", "The identifier does not fit its kind.")
    return kind, identifier


def _parse_device_ids(value: Any) -> tuple[tuple[str, str], ...]:
    entries = _require_list(value, "deviceIds")
    if len(entries) > MAX_BULK_DEVICES:
        raise rejection(SMS_PREFIX, "INPUT_INVALID.MaxRequestsExceeded", "More than 10,000 devices.")
    if len(entries) > MAX_DEVICES:
        raise rejection(SMS_PREFIX, "INPUT_INVALID.NumberofDevices", "More than 200 devices.")
    return tuple(parse_device_id(entry) for entry in entries)


def _parse_custom_fields(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = []
    for entry in _require_list(value, "customFields"):
        if not isinstance(entry, dict):
            raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "A custom field is not an object.")
        key, content = required_string(entry, "key", SMS_PREFIX), required_string(entry, "value", SMS_PREFIX)
        if not re.fullmatch("CustomField[1-5]", key):
            raise rejection(SMS_PREFIX, "INPUT_INVALID.CustomField.InvalidName", "Only CustomField1 to 5 exist.")
        if len(content) > MAX_CUSTOM_FIELD_LENGTH:
            raise rejection(
                SMS_PREFIX, "INPUT_INVALID.CustomField.TooLong", "A custom field has at most 50 characters."
            )
        pairs.append((key, content))
    return tuple(pairs)


def _require_list(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", f"The element {name} is not a list.")
    return value


def _parse_ttl(value: str | None) -> float:
    if not value:
        return DEFAULT_TTL_SECONDS
    match = TIME_TO_LIVE.fullmatch(value)
    if not match:
        raise rejection(SMS_PREFIX, "REQUEST_FAILED.UnexpectedError", "The time to live is not a relative validity.")
    years, months, days, hours, minutes, seconds = map(int, match.groups())
    total_days = years * 365 + months * 30 + days
    return min(DEFAULT_TTL_SECONDS, ((total_days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _check_url(url: str, rule: str) -> None:
    try:
        parts = urlsplit(url)
        port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
        host = parts.hostname
    except ValueError:
        host, port = None, None
    if not host or port is None or url != url.strip() or any(character.isspace() for character in url):
        raise rejection(CALLBACK_PREFIX, "INPUT_INVALID.Emulator.Url", "The URL is not an http or https address.")
    if not any(port in allowed for allowed in PORT_RANGES[rule]):
        raise rejection(
            CALLBACK_PREFIX,
            "INPUT_INVALID.Emulator.Port",
            f"The port {port} is not one of 80, 443, 9001-9006, 28200-28220 or 50551-50559.",
        )


def _require_string(value: Any, name: str, prefix: str) -> str:
    if not isinstance(value, str):
        raise rejection(prefix, "REQUEST_FAILED.UnexpectedError", f"The element {name} is not a string.")
    return value


def _iterate_strings(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, with keys, without recursion."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending.extend(item)
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
