"""Client of the control API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit


class EmulatorError(Exception):
    """The control API rejected a request; the message is its error."""


class EmulatorClient:
    """Client of one emulator. `url` is the base URL for clients of ThingSpace."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        connection = self.control("GET", "connection")
        self.url: str = connection["url"]
        self.app_key: str = connection["appKey"]
        self.app_secret: str = connection["appSecret"]
        self.username: str = connection["username"]
        self.password: str = connection["password"]

    @property
    def accounts(self) -> list[str]:
        """Names of the accounts."""
        return [entry["accountName"] for entry in self.control("GET", "accounts")["accounts"]]

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

    def control(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Send a request to the control API and return its JSON. Raises EmulatorError.

        `control("POST", "users/unlock", {"username": "reader"})`, `control("GET", "queue", accountName=account)`
        """
        parts = urlsplit(self.root)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body).encode()
            target = f"/_emulator/{path}?{urlencode(query)}"
            connection.request(method, target, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())
        finally:
            connection.close()
        if response.status >= 400:  # noqa: PLR2004 - the range of HTTP errors
            raise EmulatorError(value["error"])
        return value

    def send_message(
        self, text: str, account: str | None = None, device: Mapping[str, str] | None = None, repeat: int = 1
    ) -> None:
        """Send a message from a device, given as kind -> identifier; the first of the account unless given."""
        body: dict[str, Any] = {"accountName": account or self.accounts[0], "message": text, "repeat": repeat}
        if device is not None:
            body["deviceIds"] = [{"kind": kind, "id": value} for kind, value in device.items()]
        self.control("POST", "messages", body)

    def queue(self, account: str | None = None) -> list[str]:
        """Return the first 1,000 messages of the queue, without a change."""
        response = self.control("GET", "queue", accountName=account or self.accounts[0])
        return [message["message"] for message in response["messages"]]

    def calls(self, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the calls in the journal, oldest first."""
        calls: list[dict[str, Any]] = self.control("GET", "journal", **({"operation": operation} if operation else {}))[
            "calls"
        ]
        return calls

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the delivery attempts in the journal, oldest first."""
        deliveries: list[dict[str, Any]] = self.control("GET", "journal")["deliveries"]
        return deliveries

    def add_fault(
        self, operation: str, *, times: int = 1, match: Mapping[str, str] | None = None, **action: Any
    ) -> int:
        """Add a fault and return its number: `add_fault("login", response={"status": 503}, times=2)`."""
        rule = {"operation": operation, "times": times, "match": dict(match or {}), **action}
        return int(self.control("POST", "faults", rule)["id"])

    def advance(self, seconds: float) -> None:
        """Advance the virtual clock. Returns when everything due has happened."""
        self.control("POST", "clock", {"advanceSeconds": seconds})

    def set_switches(self, **values: str) -> None:
        """Set switches: `set_switches(lastPage="auto")`."""
        self.control("PUT", "switches", values)

    def resolve(self, addresses: Mapping[str, str]) -> None:
        """Replace the addresses in place of listeners: `{"hooks.example.net:443": "127.0.0.1:8443"}`."""
        self.control("PUT", "resolve", dict(addresses))

    def wait_until_idle(self, seconds: float = 5.0) -> None:
        """Wait until nothing is in flight. Raises TimeoutError."""
        if not self.control("GET", "idle", timeoutSeconds=str(seconds))["idle"]:
            raise TimeoutError(f"deliveries are still in flight after {seconds} s")

    def reset(self) -> None:
        """Restore the state at the start of the emulator."""
        self.control("POST", "reset")
