"""Faults: rules that make the next calls or deliveries fail in a declared way, without chance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator
from pydantic.alias_generators import to_camel

from thingspace_provider.emulator.platform.validation import StrictModel

Operation = Literal[
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
]
DELIVERY: Literal["delivery"] = "delivery"
"""The one operation of a fault that is not a call: a callback to a listener."""

OPERATIONS: tuple[str, ...] = get_args(Operation)
ACTION_FIELDS = ("response", "delay_seconds", "drop", "truncate_bytes", "hang", "duplicate")
ACTIONS = tuple(map(to_camel, ACTION_FIELDS))
DELIVERY_ACTIONS = ("delaySeconds", "drop", "duplicate")

MatchField = Literal["accountName", "serviceName", "username", "next", "url"]
GatewayCode = Literal["900901", "900902", "900906"]
Stage = Literal["before", "after"]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]*[A-Za-z0-9][A-Za-z0-9-]*$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[ -~]*$")]

FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
MAX_DELAY_SECONDS = 10**7
MAX_DUPLICATES = 100
"""Enough for any test, too few for a flood."""


class FaultResponse(StrictModel):
    """Response in place of the real one: a status with headers and body, or one of ThingSpace's error formats."""

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    body: JsonValue = ""
    format: Literal["gateway", "m2m", "oauth", "xml"] | None = None
    code: str | None = Field(
        default=None, description="900901, 900902 or 900906 for gateway; required for gateway and m2m."
    )
    message: str = "A fault was added for this call."
    after_effect: bool = Field(default=False, description="Whether the call has its effect before the response.")

    @field_validator("headers")
    @classmethod
    def _reject_framing(cls, headers: dict[str, str]) -> dict[str, str]:
        if framing := sorted(FRAMING_HEADERS.intersection(map(str.lower, headers))):
            raise ValueError(f"{', '.join(framing)} cannot be set, because the server sets it")
        return headers

    @field_validator("body")
    @classmethod
    def _reject_not_a_number(cls, body: JsonValue) -> JsonValue:
        json.dumps(body, allow_nan=False)
        return body

    @model_validator(mode="after")
    def _check_format(self) -> FaultResponse:
        if self.format is None and self.status is None:
            raise ValueError("a response needs a status or a format")
        if self.format == "gateway" and self.code not in get_args(GatewayCode):
            raise ValueError(f"the format gateway has the codes {', '.join(get_args(GatewayCode))}")
        if self.format == "m2m" and not self.code:
            raise ValueError("the format m2m needs a code, such as REQUEST_FAILED.SessionToken.Expired")
        return self


class FaultRule(StrictModel):
    """Fault as declared: which calls it hits, and exactly one action.

    `drop` and `hang` happen before or after the call has its effect.
    """

    operation: Literal[Operation, "delivery"]
    match: dict[MatchField, str] = Field(default_factory=dict)
    times: int = Field(default=1, ge=1, description="Number of calls that the fault hits.")
    skip: int = Field(default=0, ge=0, description="Number of matching calls before the first hit.")
    response: FaultResponse | None = None
    delay_seconds: Annotated[float, Field(gt=0, le=MAX_DELAY_SECONDS)] | None = None
    drop: Stage | None = None
    truncate_bytes: Annotated[int, Field(ge=0)] | None = None
    hang: Stage | None = None
    duplicate: Annotated[int, Field(ge=1, le=MAX_DUPLICATES)] | None = None

    @model_validator(mode="after")
    def _check_action(self) -> FaultRule:
        actions = [to_camel(name) for name in ACTION_FIELDS if getattr(self, name) is not None]
        if len(actions) != 1:
            raise ValueError(f"a fault has exactly one action of: {', '.join(ACTIONS)}")
        if self.operation == DELIVERY and actions[0] not in DELIVERY_ACTIONS:
            raise ValueError(f"the operation delivery has the actions {', '.join(DELIVERY_ACTIONS)}")
        if self.operation != DELIVERY and actions[0] == "duplicate":
            raise ValueError("only the operation delivery has the action duplicate")
        return self

    @property
    def has_effect(self) -> bool:
        """Whether the call has its effect although the fault hits it."""
        if self.response is not None:
            return self.response.after_effect
        return "before" not in {self.drop, self.hang}


@dataclass(slots=True)
class Fault:
    """Added fault with its number and its hits."""

    number: int
    rule: FaultRule
    hits: int = 0
    skipped: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the rule as it was added, with `id`, `hits` and `remaining`."""
        rule = self.rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return {**rule, "id": self.number, "hits": self.hits, "remaining": self.rule.times - self.hits}


class Faults:
    """Added faults, oldest first. A call is hit by the first fault that matches it."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._last_number = 0

    def add(self, rule: FaultRule) -> Fault:
        """Add a fault behind the others."""
        self._last_number += 1
        fault = self._faults[self._last_number] = Fault(self._last_number, rule)
        return fault

    def match(self, operation: str, fields: Mapping[str, str | None]) -> Fault | None:
        """Return the fault that hits this call, and count the hit."""
        for fault in self._faults.values():
            rule = fault.rule
            if rule.operation != operation or fault.hits >= rule.times:
                continue
            if any(fields.get(name) != value for name, value in rule.match.items()):
                continue
            if fault.skipped < rule.skip:
                fault.skipped += 1
                continue
            fault.hits += 1
            return fault
        return None

    def remove(self, number: int) -> bool:
        """Remove a fault. Returns whether there was one of this number."""
        return self._faults.pop(number, None) is not None

    def clear(self) -> None:
        """Remove every fault; numbers restart at 1."""
        self._faults.clear()
        self._last_number = 0

    def as_json(self) -> list[dict[str, Any]]:
        """Return every fault with its hits."""
        return [fault.as_json() for fault in self._faults.values()]
