"""A typed handle for everything in the control plane of a running emulator."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit


class EmulatorRefused(Exception):
    """The control plane said no; the text is its own."""


@dataclass(frozen=True, slots=True)
class QueuedText:
    """A text that waits: `device_ids` are (kind, identifier) pairs, `timestamp` is ISO 8601."""

    message: str
    device_ids: tuple[tuple[str, str], ...]
    timestamp: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request to ThingSpace; `status` 0 means that a fault cut it, `fault` is the fault's number."""

    operation: str
    status: int
    account: str | None
    error_code: str | None
    fault: int | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to post: `outcome` is delivered, refused, silent, unreachable or untrusted."""

    account: str
    service: str
    url: str
    number: int
    outcome: str
    status: int | None
    message: str | None


class ThingSpace:
    """An emulator seen from a test: `url` is what a client takes as base address."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        facts = self._ask("GET", "connection")
        self.url: str = facts["url"]
        self.app_key: str = facts["appKey"]
        self.app_secret: str = facts["appSecret"]
        self.username: str = facts["username"]
        self.password: str = facts["password"]

    @property
    def accounts(self) -> list[str]:
        """The accounts there are."""
        return [entry["accountName"] for entry in self._ask("GET", "accounts")["accounts"]]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which a client finds this emulator."""
        return {
            "THINGSPACE_BASE_URL": self.url,
            "THINGSPACE_APP_KEY": self.app_key,
            "THINGSPACE_APP_SECRET": self.app_secret,
            "THINGSPACE_USERNAME": self.username,
            "THINGSPACE_PASSWORD": self.password,
        }

    def text(
        self, message: str, account: str | None = None, device: Mapping[str, str] | None = None, repeat: int = 1
    ) -> None:
        """A device sends a text; `device` maps kinds to identifiers, the first one of the account unless given."""
        body: dict[str, Any] = {"accountName": account or self.accounts[0], "message": message, "repeat": repeat}
        if device is not None:
            body["deviceIds"] = [{"kind": kind, "id": value} for kind, value in device.items()]
        self._ask("POST", "messages", body)

    def queue(self, account: str | None = None) -> list[QueuedText]:
        """The texts that wait, at most 1000, without touching them."""
        answer = self._ask("GET", f"queue?accountName={quote(account or self.accounts[0], safe='')}")
        return [
            QueuedText(text["message"], tuple((one["kind"], one["id"]) for one in text["deviceIds"]), text["timestamp"])
            for text in answer["messages"]
        ]

    def calls(self, operation: str | None = None) -> list[Call]:
        """What was asked of ThingSpace, the oldest first."""
        answer = self._ask("GET", "journal" + (f"?operation={operation}" if operation else ""))
        return [
            Call(one["operation"], one["status"], one["accountName"], one["errorCode"], one["fault"])
            for one in answer["calls"]
        ]

    def deliveries(self) -> list[Attempt]:
        """What was posted to listeners, the oldest first."""
        return [
            Attempt(
                one["accountName"],
                one["serviceName"],
                one["url"],
                one["attempt"],
                one["outcome"],
                one["status"],
                one["smsMessage"],
            )
            for one in self._ask("GET", "journal")["deliveries"]
        ]

    def fault(self, operation: str, *, times: int = 1, match: Mapping[str, str] | None = None, **action: Any) -> int:
        """Arm a fault and return its number: `fault("login", answer={"status": 503}, times=2)`."""
        rule = {"operation": operation, "times": times, "match": dict(match or {}), **action}
        return int(self._ask("POST", "faults", rule)["id"])

    def hits(self, fault: int) -> int:
        """How many calls a fault has hit."""
        return next(int(one["hits"]) for one in self._ask("GET", "faults")["faults"] if one["id"] == fault)

    def disarm(self) -> None:
        """Forget every fault."""
        self._ask("DELETE", "faults")

    def now(self) -> float:
        """The virtual time in seconds since the epoch."""
        return float(self._ask("GET", "clock")["seconds"])

    def advance(self, seconds: float) -> None:
        """Move the virtual clock; returns when all that fell due on the way is done."""
        self._ask("POST", "clock", {"advanceSeconds": seconds})

    def freeze(self) -> None:
        """Let time pass only by `advance`."""
        self._ask("POST", "clock", {"frozen": True})

    def switch(self, **values: str) -> None:
        """Answer unknowns otherwise: `switch(finalBlock="auto")`."""
        self._ask("PUT", "switches", values)

    def switches(self) -> dict[str, str]:
        """Every switch and its value."""
        return dict(self._ask("GET", "switches"))

    def resolve(self, addresses: Mapping[str, str]) -> None:
        """Let addresses of this machine stand for listeners: `{"hooks.example.net:443": "127.0.0.1:8443"}`."""
        self._ask("PUT", "resolve", dict(addresses))

    def add_account(self, name: str, username: str | None = None) -> None:
        """A new account with a device, for every user or for one."""
        self._ask("POST", "accounts", {"accountName": name, **({"username": username} if username else {})})

    def device(self, ids: Mapping[str, str], account: str | None = None, **changes: Any) -> None:
        """Add a device or change one: `device({"mdn": "5551230001"}, reachable=False)`."""
        pairs: Sequence[dict[str, str]] = [{"kind": kind, "id": value} for kind, value in ids.items()]
        self._ask("POST", "devices", {"accountName": account or self.accounts[0], "deviceIds": pairs, **changes})

    def unlock(self, username: str | None = None) -> None:
        """What Verizon's support does after a call."""
        self._ask("POST", "users/unlock", {"username": username or self.username})

    def settle(self, seconds: float = 5.0) -> None:
        """Return once nothing is under way. Raises TimeoutError."""
        if not self._ask("GET", f"settled?timeoutSeconds={seconds}")["settled"]:
            raise TimeoutError(f"deliveries are still under way after {seconds} s")

    def export_state(self) -> dict[str, Any]:
        """Everything that a restart should not lose."""
        return dict(self._ask("GET", "state"))

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Go on with an exported state."""
        self._ask("PUT", "state", dict(state))

    def reset(self) -> None:
        """Back to how it started."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        parts = urlsplit(self.root)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/_emulator/{path}", content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's own classes of refusals
            raise EmulatorRefused(value["error"])
        return value
