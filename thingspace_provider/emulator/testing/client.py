"""A typed handle for everything in the control plane of a running emulator."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit


class EmulatorError(Exception):
    """The control plane said no; the text is its own."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A text that waits: `device_ids` are (kind, identifier) pairs, `timestamp` is ISO 8601."""

    text: str
    device_ids: tuple[tuple[str, str], ...]
    timestamp: str


@dataclass(frozen=True, slots=True)
class JournalCall:
    """One request to ThingSpace; `status` 0 means that a fault cut it, `fault` is the fault's number."""

    operation: str
    status: int
    account: str | None
    error_code: str | None
    fault: int | None


@dataclass(frozen=True, slots=True)
class JournalDelivery:
    """One attempt to post: `outcome` is delivered, rejected, timeout, unreachable or untrusted."""

    account: str
    service: str
    url: str
    attempt: int
    outcome: str
    status: int | None
    text: str | None


class EmulatorClient:
    """An emulator seen from a test: `url` is what a client takes as base address."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        connection = self._request("GET", "connection")
        self.url: str = connection["url"]
        self.app_key: str = connection["appKey"]
        self.app_secret: str = connection["appSecret"]
        self.username: str = connection["username"]
        self.password: str = connection["password"]

    @property
    def accounts(self) -> list[str]:
        """The accounts there are."""
        return [entry["accountName"] for entry in self._request("GET", "accounts")["accounts"]]

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

    def send_message(
        self, text: str, account: str | None = None, device: Mapping[str, str] | None = None, repeat: int = 1
    ) -> None:
        """A device sends a text; `device` maps kinds to identifiers, the first one of the account unless given."""
        body: dict[str, Any] = {"accountName": account or self.accounts[0], "message": text, "repeat": repeat}
        if device is not None:
            body["deviceIds"] = [{"kind": kind, "id": value} for kind, value in device.items()]
        self._request("POST", "messages", body)

    def queue(self, account: str | None = None) -> list[QueuedMessage]:
        """The texts that wait, at most 1000, without touching them."""
        response = self._request("GET", f"queue?accountName={quote(account or self.accounts[0], safe='')}")
        return [
            QueuedMessage(
                message["message"],
                tuple((device_id["kind"], device_id["id"]) for device_id in message["deviceIds"]),
                message["timestamp"],
            )
            for message in response["messages"]
        ]

    def calls(self, operation: str | None = None) -> list[JournalCall]:
        """What was asked of ThingSpace, the oldest first."""
        response = self._request("GET", "journal" + (f"?operation={operation}" if operation else ""))
        return [
            JournalCall(call["operation"], call["status"], call["accountName"], call["errorCode"], call["fault"])
            for call in response["calls"]
        ]

    def deliveries(self) -> list[JournalDelivery]:
        """What was posted to listeners, the oldest first."""
        return [
            JournalDelivery(
                delivery["accountName"],
                delivery["serviceName"],
                delivery["url"],
                delivery["attempt"],
                delivery["outcome"],
                delivery["status"],
                delivery["smsMessage"],
            )
            for delivery in self._request("GET", "journal")["deliveries"]
        ]

    def add_fault(
        self, operation: str, *, times: int = 1, match: Mapping[str, str] | None = None, **action: Any
    ) -> int:
        """Arm a fault and return its number: `fault("login", response={"status": 503}, times=2)`."""
        rule = {"operation": operation, "times": times, "match": dict(match or {}), **action}
        return int(self._request("POST", "faults", rule)["id"])

    def fault_hits(self, fault: int) -> int:
        """How many calls a fault has hit."""
        return next(int(rule["hits"]) for rule in self._request("GET", "faults")["faults"] if rule["id"] == fault)

    def clear_faults(self) -> None:
        """Forget every fault."""
        self._request("DELETE", "faults")

    def now(self) -> float:
        """The virtual time in seconds since the epoch."""
        return float(self._request("GET", "clock")["seconds"])

    def advance(self, seconds: float) -> None:
        """Move the virtual clock; returns when all that fell due on the way is done."""
        self._request("POST", "clock", {"advanceSeconds": seconds})

    def freeze(self) -> None:
        """Let time pass only by `advance`."""
        self._request("POST", "clock", {"frozen": True})

    def set_switches(self, **values: str) -> None:
        """Answer unknowns otherwise: `switch(lastPage="auto")`."""
        self._request("PUT", "switches", values)

    def switches(self) -> dict[str, str]:
        """Every switch and its value."""
        return dict(self._request("GET", "switches"))

    def resolve(self, addresses: Mapping[str, str]) -> None:
        """Let addresses of this machine stand for listeners: `{"hooks.example.net:443": "127.0.0.1:8443"}`."""
        self._request("PUT", "resolve", dict(addresses))

    def add_account(self, name: str, username: str | None = None) -> None:
        """A new account with a device, for every user or for one."""
        self._request("POST", "accounts", {"accountName": name, **({"username": username} if username else {})})

    def put_device(self, ids: Mapping[str, str], account: str | None = None, **changes: Any) -> None:
        """Add a device or change one: `device({"mdn": "5551230001"}, reachable=False)`."""
        pairs: Sequence[dict[str, str]] = [{"kind": kind, "id": value} for kind, value in ids.items()]
        self._request("POST", "devices", {"accountName": account or self.accounts[0], "deviceIds": pairs, **changes})

    def unlock(self, username: str | None = None) -> None:
        """What Verizon's support does after a call."""
        self._request("POST", "users/unlock", {"username": username or self.username})

    def wait_until_idle(self, seconds: float = 5.0) -> None:
        """Return once nothing is under way. Raises TimeoutError."""
        if not self._request("GET", f"idle?timeoutSeconds={seconds}")["idle"]:
            raise TimeoutError(f"deliveries are still under way after {seconds} s")

    def export_state(self) -> dict[str, Any]:
        """Everything that a restart should not lose."""
        return dict(self._request("GET", "state"))

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Go on with an exported state."""
        self._request("PUT", "state", dict(state))

    def reset(self) -> None:
        """Back to how it started."""
        self._request("POST", "reset")

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        parts = urlsplit(self.root)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/_emulator/{path}", content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())
        finally:
            connection.close()
        if response.status >= 400:  # noqa: PLR2004 - HTTP's own classes of refusals
            raise EmulatorError(value["error"])
        return value
