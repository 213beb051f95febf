"""Client of the control API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit


class EmulatorError(Exception):
    """The control API rejected a request; the message is its error."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """Message in the queue. `device_ids` are (kind, identifier) pairs, `timestamp` is in ISO 8601."""

    text: str
    device_ids: tuple[tuple[str, str], ...]
    timestamp: str


@dataclass(frozen=True, slots=True)
class JournalCall:
    """Call in the journal. `status` is 0 if a fault cut the connection; `fault` is the number of the fault."""

    operation: str
    status: int
    account: str | None
    error_code: str | None
    fault: int | None


@dataclass(frozen=True, slots=True)
class JournalDelivery:
    """Delivery attempt in the journal. `outcome` is delivered, rejected, timeout, unreachable or untrusted."""

    account: str
    service: str
    url: str
    attempt: int
    outcome: str
    status: int | None
    text: str | None


class EmulatorClient:
    """Client of one emulator. `url` is the base URL for clients of ThingSpace."""

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
        """Names of the accounts."""
        return [entry["accountName"] for entry in self._request("GET", "accounts")["accounts"]]

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point the provider to this emulator."""
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
        """Send a message from a device, given as kind -> identifier; the first of the account unless given."""
        body: dict[str, Any] = {"accountName": account or self.accounts[0], "message": text, "repeat": repeat}
        if device is not None:
            body["deviceIds"] = [{"kind": kind, "id": value} for kind, value in device.items()]
        self._request("POST", "messages", body)

    def queue(self, account: str | None = None) -> list[QueuedMessage]:
        """Return the first 1,000 messages of the queue, without a change."""
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
        """Return the calls in the journal, oldest first."""
        response = self._request("GET", "journal" + (f"?operation={operation}" if operation else ""))
        return [
            JournalCall(call["operation"], call["status"], call["accountName"], call["errorCode"], call["fault"])
            for call in response["calls"]
        ]

    def deliveries(self) -> list[JournalDelivery]:
        """Return the delivery attempts in the journal, oldest first."""
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
        """Add a fault and return its number: `add_fault("login", response={"status": 503}, times=2)`."""
        rule = {"operation": operation, "times": times, "match": dict(match or {}), **action}
        return int(self._request("POST", "faults", rule)["id"])

    def fault_hits(self, fault: int) -> int:
        """Return the number of calls that a fault has hit."""
        return next(int(rule["hits"]) for rule in self._request("GET", "faults")["faults"] if rule["id"] == fault)

    def clear_faults(self) -> None:
        """Remove every fault."""
        self._request("DELETE", "faults")

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""
        return float(self._request("GET", "clock")["seconds"])

    def advance(self, seconds: float) -> None:
        """Advance the virtual clock. Returns when everything due has happened."""
        self._request("POST", "clock", {"advanceSeconds": seconds})

    def freeze(self) -> None:
        """Freeze the virtual clock: time passes only by `advance`."""
        self._request("POST", "clock", {"frozen": True})

    def set_switches(self, **values: str) -> None:
        """Set switches: `set_switches(lastPage="auto")`."""
        self._request("PUT", "switches", values)

    def switches(self) -> dict[str, str]:
        """Return every switch and its value."""
        return dict(self._request("GET", "switches"))

    def resolve(self, addresses: Mapping[str, str]) -> None:
        """Replace the addresses in place of listeners: `{"hooks.example.net:443": "127.0.0.1:8443"}`."""
        self._request("PUT", "resolve", dict(addresses))

    def add_account(self, name: str, username: str | None = None) -> None:
        """Add an account with one device, for every user or for one."""
        self._request("POST", "accounts", {"accountName": name, **({"username": username} if username else {})})

    def put_device(self, ids: Mapping[str, str], account: str | None = None, **changes: Any) -> None:
        """Add or change a device: `put_device({"mdn": "5551230001"}, reachable=False)`."""
        pairs: Sequence[dict[str, str]] = [{"kind": kind, "id": value} for kind, value in ids.items()]
        self._request("POST", "devices", {"accountName": account or self.accounts[0], "deviceIds": pairs, **changes})

    def unlock(self, username: str | None = None) -> None:
        """Unlock a user, as Verizon's support does."""
        self._request("POST", "users/unlock", {"username": username or self.username})

    def wait_until_idle(self, seconds: float = 5.0) -> None:
        """Wait until nothing is in flight. Raises TimeoutError."""
        if not self._request("GET", f"idle?timeoutSeconds={seconds}")["idle"]:
            raise TimeoutError(f"deliveries are still in flight after {seconds} s")

    def export_state(self) -> dict[str, Any]:
        """Export the platform state."""
        return dict(self._request("GET", "state"))

    def import_state(self, state: Mapping[str, Any]) -> None:
        """Replace the platform state by an exported one."""
        self._request("PUT", "state", dict(state))

    def reset(self) -> None:
        """Restore the state at the start of the emulator."""
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
        if response.status >= 400:  # noqa: PLR2004 - the range of HTTP errors
            raise EmulatorError(value["error"])
        return value
