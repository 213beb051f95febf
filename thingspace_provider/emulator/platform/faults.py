"""Faults on demand: a rule says which call goes wrong, how, and how many times; chance has no part in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingspace_provider.emulator.api.responses import (
    GATEWAY_ERRORS,
    JSON_TYPE,
    SESSION_PREFIX,
    ApiResponse,
    gateway_error,
    m2m_error,
    oauth_error,
    xml_error,
)

DELIVERY = "delivery"
"""The one operation that goes outwards: an attempt to post to a listener."""

OPERATIONS = (
    "token",
    "revoke",
    "login",
    "logout",
    "resetPassword",
    "listCallbacks",
    "registerCallback",
    "deregisterCallback",
    "sendSms",
    "smsHistory",
    "startCallbacks",
)

MATCH_FIELDS = ("accountName", "serviceName", "username", "next", "url")
ACTIONS = ("response", "delaySeconds", "drop", "truncateBytes", "hang", "duplicate")
ALLOWED_KEYS = {"operation", "match", "times", "skip", *ACTIONS}


class InvalidFault(ValueError):
    """A rule that cannot be armed; the text says what would have been right."""


@dataclass(slots=True)
class FaultRule:
    """One armed fault.

    `answer` replaces the real answer, before the call has an effect or, with `taken`, after it. `delay` is in
    virtual seconds. `drop` and `hang` are "before" or "after" the call has its effect; `truncate` cuts the
    answer's body after so many bytes. `duplicate` posts a callback so many times more, at once.
    """

    number: int
    operation: str
    match: dict[str, str] = field(default_factory=dict)
    times: int = 1
    skip: int = 0
    response: ApiResponse | None = None
    after_effect: bool = False
    delay_seconds: float = 0.0
    drop: str | None = None
    hang: str | None = None
    truncate_bytes: int | None = None
    duplicate: int = 0
    hits: int = 0
    source: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The rule as it was armed, with `id`, `hits` and what is `remaining`."""
        return {**self.source, "id": self.number, "hits": self.hits, "remaining": self.times - self.hits}


class Faults:
    """The armed rules, the oldest first; the first that fits a call is used up by it."""

    def __init__(self) -> None:
        self._rules: dict[int, FaultRule] = {}
        self._last = 0

    def add(self, source: Any) -> FaultRule:
        """Arm a rule given as JSON. Raises BadRule."""
        rule = _parse_rule(self._last + 1, source)
        self._last += 1
        self._rules[rule.number] = rule
        return rule

    def match(self, operation: str, fields: Mapping[str, str | None]) -> FaultRule | None:
        """The rule that applies to this call, counted as hit."""
        for rule in self._rules.values():
            if rule.operation != operation or rule.hits >= rule.times:
                continue
            if any(fields.get(name) != value for name, value in rule.match.items()):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            rule.hits += 1
            return rule
        return None

    def remove(self, number: int) -> bool:
        """Forget one rule; false if there is none of this number."""
        return self._rules.pop(number, None) is not None

    def clear(self) -> None:
        """Forget every rule; numbers start anew."""
        self._rules.clear()
        self._last = 0

    def as_json(self) -> list[dict[str, Any]]:
        """Every rule with its hits."""
        return [rule.as_json() for rule in self._rules.values()]


def _parse_rule(number: int, source: Any) -> FaultRule:
    if not isinstance(source, dict):
        raise InvalidFault(f"a fault is an object with an operation and one of: {', '.join(ACTIONS)}")
    if unknown := sorted(set(source) - ALLOWED_KEYS):
        raise InvalidFault(f"a fault has no {', '.join(unknown)}; it has: {', '.join(sorted(ALLOWED_KEYS))}")
    operation = source.get("operation")
    if operation not in {*OPERATIONS, DELIVERY}:
        raise InvalidFault(f"there is no operation {operation!r}; there are: {', '.join((*OPERATIONS, DELIVERY))}")
    actions = [name for name in ACTIONS if name in source]
    if len(actions) != 1:
        raise InvalidFault(f"a fault does exactly one thing of: {', '.join(ACTIONS)}")
    if (operation == DELIVERY) != (actions[0] == "duplicate") and actions[0] not in {"delaySeconds", "drop"}:
        raise InvalidFault("a delivery can be delayed, dropped or duplicated; an answer can be anything but duplicated")
    rule = FaultRule(number, operation, _parse_match(source.get("match", {})), source=dict(source))
    rule.times, rule.skip = _parse_count(source, "times", 1, 1), _parse_count(source, "skip", 0, 0)
    _set_action(rule, actions[0], source)
    return rule


def _set_action(rule: FaultRule, action: str, source: dict[str, Any]) -> None:
    value = source[action]
    if action == "response":
        rule.response, rule.after_effect = _parse_response(value)
    elif action == "delaySeconds":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 10**7:
            raise InvalidFault("delaySeconds is a number of virtual seconds above 0")
        rule.delay_seconds = float(value)
    elif action == "truncateBytes":
        rule.truncate_bytes = _parse_count(source, "truncateBytes", 0, 0)
    elif action == "duplicate":
        rule.duplicate = _parse_count(source, "duplicate", 1, 1)
        if rule.duplicate > 100:  # noqa: PLR2004 - enough for any test, too few for a flood
            raise InvalidFault("duplicate is at most 100")
    else:
        moment = {True: "before"}.get(value, value) if isinstance(value, bool) else value
        if moment not in {"before", "after"}:
            raise InvalidFault(f"{action} is 'before' or 'after' the call had its effect")
        setattr(rule, action, moment)


def _parse_match(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(content, str) for content in value.values()):
        raise InvalidFault("match is an object of strings")
    if unknown := sorted(set(value) - set(MATCH_FIELDS)):
        raise InvalidFault(f"a fault cannot match {', '.join(unknown)}; it can match: {', '.join(MATCH_FIELDS)}")
    return dict(value)


def _parse_count(source: dict[str, Any], name: str, default: int, min_value: int) -> int:
    value = source.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < min_value:
        raise InvalidFault(f"{name} is a whole number from {min_value}")
    return value


def _parse_response(value: Any) -> tuple[ApiResponse, bool]:
    if not isinstance(value, dict):
        raise InvalidFault("response is an object: {status, headers, body} or {format, ...}")
    allowed = {"status", "headers", "body", "format", "code", "message", "afterEffect"}
    if unknown := sorted(set(value) - allowed):
        raise InvalidFault(f"a response has no {', '.join(unknown)}; it has: {', '.join(sorted(allowed))}")
    status = value.get("status")
    if status is not None and (isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599):  # noqa: PLR2004 - HTTP's own range of final answers
        raise InvalidFault("status is a whole number from 200 to 599")
    after_effect = value.get("afterEffect", False)
    if not isinstance(after_effect, bool):
        raise InvalidFault("afterEffect is true or false")
    if "format" in value:
        return _in_format(value, status), after_effect
    if status is None:
        raise InvalidFault("a response needs a status or a format")
    body = value.get("body", "")
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = value.get("headers", {})
    if not isinstance(headers, dict) or not all(_is_header(name, content) for name, content in headers.items()):
        raise InvalidFault("headers is an object of strings without control characters")
    content_type = () if isinstance(body, str) else (("Content-Type", JSON_TYPE),)
    return ApiResponse(status, content, (*content_type, *headers.items()), f"fault-{status}"), after_effect


def _is_header(name: Any, value: Any) -> bool:
    return (
        isinstance(value, str)
        and isinstance(name, str)
        and name.replace("-", "").isalnum()
        and name.isascii()
        and all(" " <= character <= "~" for character in value)
        and name.lower() not in {"content-length", "transfer-encoding", "connection"}
    )


def _in_format(value: dict[str, Any], status: int | None) -> ApiResponse:
    code, message = value.get("code"), value.get("message", "A fault was armed for this call.")
    if not isinstance(message, str) or not (code is None or isinstance(code, str)):
        raise InvalidFault("code and message are strings")
    match value["format"]:
        case "gateway":
            if code not in GATEWAY_ERRORS:
                raise InvalidFault(f"the format gateway has the codes {', '.join(GATEWAY_ERRORS)}")
            return gateway_error(code, status)
        case "m2m":
            if not code:
                raise InvalidFault("the format m2m needs a code, such as REQUEST_FAILED.SessionToken.Expired")
            return m2m_error(f"{SESSION_PREFIX}.{code}", message, status or 400)
        case "oauth":
            return oauth_error(code or "invalid_client", message, status or 401)
        case "xml":
            return xml_error(status or 403)
        case other:
            raise InvalidFault(f"there is no format {other!r}; there are: gateway, m2m, oauth, xml")
