"""Faults on demand: a rule says which call goes wrong, how, and how many times; chance has no part in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingspace_provider.emulator.api.responses import (
    FAULTS,
    JSON_TYPE,
    SESSION_PREFIX,
    Answer,
    gateway_fault,
    m2m_error,
    oauth_error,
    xml_fault,
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

FACTS = ("accountName", "serviceName", "username", "next", "url")
ACTIONS = ("answer", "delay", "drop", "truncate", "hang", "duplicate")
ALLOWED_KEYS = {"operation", "match", "times", "skip", *ACTIONS}


class BadRule(ValueError):
    """A rule that cannot be armed; the text says what would have been right."""


@dataclass(slots=True)
class Rule:
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
    answer: Answer | None = None
    taken: bool = False
    delay: float = 0.0
    drop: str | None = None
    hang: str | None = None
    truncate: int | None = None
    duplicate: int = 0
    hits: int = 0
    source: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The rule as it was armed, with `id`, `hits` and what is `left`."""
        return {**self.source, "id": self.number, "hits": self.hits, "left": self.times - self.hits}


class Faults:
    """The armed rules, the oldest first; the first that fits a call is used up by it."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._last = 0

    def arm(self, source: Any) -> Rule:
        """Arm a rule given as JSON. Raises BadRule."""
        rule = _read(self._last + 1, source)
        self._last += 1
        self._rules[rule.number] = rule
        return rule

    def take(self, operation: str, facts: Mapping[str, str | None]) -> Rule | None:
        """The rule that applies to this call, counted as hit."""
        for rule in self._rules.values():
            if rule.operation != operation or rule.hits >= rule.times:
                continue
            if any(facts.get(name) != value for name, value in rule.match.items()):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            rule.hits += 1
            return rule
        return None

    def disarm(self, number: int) -> bool:
        """Forget one rule; false if there is none of this number."""
        return self._rules.pop(number, None) is not None

    def clear(self) -> None:
        """Forget every rule; numbers start anew."""
        self._rules.clear()
        self._last = 0

    def as_json(self) -> list[dict[str, Any]]:
        """Every rule with its hits."""
        return [rule.as_json() for rule in self._rules.values()]


def _read(number: int, source: Any) -> Rule:
    if not isinstance(source, dict):
        raise BadRule("a fault is an object: {operation, match, answer | delay | drop | truncate | hang, times}")
    if unknown := sorted(set(source) - ALLOWED_KEYS):
        raise BadRule(f"a fault has no {', '.join(unknown)}; it has: {', '.join(sorted(ALLOWED_KEYS))}")
    operation = source.get("operation")
    if operation not in {*OPERATIONS, DELIVERY}:
        raise BadRule(f"there is no operation {operation!r}; there are: {', '.join((*OPERATIONS, DELIVERY))}")
    actions = [name for name in ACTIONS if name in source]
    if len(actions) != 1:
        raise BadRule(f"a fault does exactly one thing of: {', '.join(ACTIONS)}")
    if (operation == DELIVERY) != (actions[0] == "duplicate") and actions[0] not in {"delay", "drop"}:
        raise BadRule("a delivery can be delayed, dropped or duplicated; an answer can be anything but duplicated")
    rule = Rule(number, operation, _match(source.get("match", {})), source=dict(source))
    rule.times, rule.skip = _count(source, "times", 1, 1), _count(source, "skip", 0, 0)
    _set_action(rule, actions[0], source)
    return rule


def _set_action(rule: Rule, action: str, source: dict[str, Any]) -> None:
    value = source[action]
    if action == "answer":
        rule.answer, rule.taken = _answer(value)
    elif action == "delay":
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 10**7:
            raise BadRule("delay is a number of virtual seconds above 0")
        rule.delay = float(value)
    elif action == "truncate":
        rule.truncate = _count(source, "truncate", 0, 0)
    elif action == "duplicate":
        rule.duplicate = _count(source, "duplicate", 1, 1)
        if rule.duplicate > 100:  # noqa: PLR2004 - enough for any test, too few for a flood
            raise BadRule("duplicate is at most 100")
    else:
        moment = {True: "before"}.get(value, value) if isinstance(value, bool) else value
        if moment not in {"before", "after"}:
            raise BadRule(f"{action} is 'before' or 'after' the call had its effect")
        setattr(rule, action, moment)


def _match(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(content, str) for content in value.values()):
        raise BadRule("match is an object of strings")
    if unknown := sorted(set(value) - set(FACTS)):
        raise BadRule(f"a fault cannot match {', '.join(unknown)}; it can match: {', '.join(FACTS)}")
    return dict(value)


def _count(source: dict[str, Any], name: str, default: int, least: int) -> int:
    value = source.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadRule(f"{name} is a whole number from {least}")
    return value


def _answer(value: Any) -> tuple[Answer, bool]:
    if not isinstance(value, dict):
        raise BadRule("answer is an object: {status, headers, body} or {dialect, ...}")
    allowed = {"status", "headers", "body", "dialect", "code", "message", "taken"}
    if unknown := sorted(set(value) - allowed):
        raise BadRule(f"an answer has no {', '.join(unknown)}; it has: {', '.join(sorted(allowed))}")
    status = value.get("status")
    if status is not None and (isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599):  # noqa: PLR2004 - HTTP's own range of final answers
        raise BadRule("status is a whole number from 200 to 599")
    taken = value.get("taken", False)
    if not isinstance(taken, bool):
        raise BadRule("taken is true or false")
    if "dialect" in value:
        return _in_dialect(value, status), taken
    if status is None:
        raise BadRule("an answer needs a status or a dialect")
    body = value.get("body", "")
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = value.get("headers", {})
    if not isinstance(headers, dict) or not all(_is_header(name, content) for name, content in headers.items()):
        raise BadRule("headers is an object of strings without control characters")
    kind = () if isinstance(body, str) else (("Content-Type", JSON_TYPE),)
    return Answer(status, content, (*kind, *headers.items()), f"fault-{status}"), taken


def _is_header(name: Any, value: Any) -> bool:
    return (
        isinstance(value, str)
        and isinstance(name, str)
        and name.replace("-", "").isalnum()
        and name.isascii()
        and all(" " <= character <= "~" for character in value)
        and name.lower() not in {"content-length", "transfer-encoding", "connection"}
    )


def _in_dialect(value: dict[str, Any], status: int | None) -> Answer:
    code, message = value.get("code"), value.get("message", "A fault was armed for this call.")
    if not isinstance(message, str) or not (code is None or isinstance(code, str)):
        raise BadRule("code and message are strings")
    match value["dialect"]:
        case "fault":
            if code not in FAULTS:
                raise BadRule(f"the dialect fault has the codes {', '.join(FAULTS)}")
            return gateway_fault(code, status)
        case "errorCode":
            if not code:
                raise BadRule("the dialect errorCode needs a code, such as REQUEST_FAILED.SessionToken.Expired")
            return m2m_error(f"{SESSION_PREFIX}.{code}", message, status or 400)
        case "oauth":
            return oauth_error(code or "invalid_client", message, status or 401)
        case "xml":
            return xml_fault(status or 403)
        case other:
            raise BadRule(f"there is no dialect {other!r}; there are: fault, errorCode, oauth, xml")
