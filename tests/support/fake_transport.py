"""Transport without a network: a minimal ThingSpace in memory, with faults and a journal of calls."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from thingspace_provider.api import Credentials
from thingspace_provider.api.transport import HttpResponse, TransportError

CREDENTIALS = Credentials("key-0123456789", "secret-0123456789", "fake-user", "password-0123456789")
ACCOUNTS = ("0000123456-00001", "0000123456-00002")
ROUTES = (
    ("token", "POST", "/ts/v1/oauth2/token"),
    ("login", "POST", "/m2m/v1/session/login"),
    ("logout", "POST", "/m2m/v1/session/logout"),
    ("listCallbacks", "GET", "/m2m/v1/callbacks/([^/]+)"),
    ("registerCallback", "POST", "/m2m/v1/callbacks/([^/]+)"),
    ("deregisterCallback", "DELETE", "/m2m/v1/callbacks/([^/]+)/name/([^/]+)"),
    ("startCallbacks", "PUT", "/m2m/v1/sms/([^/]+)/startCallbacks"),
    ("smsHistory", "GET", "/m2m/v1/sms/([^/]+)/history"),
)


@dataclass
class Fault:
    """A response, or a lost connection before or after the call takes effect, for the next `times` calls."""

    operation: str
    times: int
    response: HttpResponse | None = None
    has_effect: bool = False


@dataclass
class FakeTransport:
    """Responds like ThingSpace to the calls of a client. Safe for use by several threads."""

    password: str = CREDENTIALS.password
    registrations: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)  # by account and service
    calls: Counter[str] = field(default_factory=Counter)  # by operation
    session: str = ""
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_calls(self) -> Counter[str]:
        """Return the number of calls of each operation."""
        return Counter(self.calls)

    def add_fault(
        self, operation: str, status: int, body: Any, times: int = 1, headers: Mapping[str, str] | None = None
    ) -> None:
        """Respond to the next calls of an operation with this status and body."""
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        lower_case = {name.lower(): value for name, value in (headers or {}).items()}
        self._faults.append(Fault(operation, times, HttpResponse(status, lower_case, content)))

    def drop(self, operation: str, moment: str, times: int = 1) -> None:
        """Lose the connection `before` or `after` the next calls of an operation take effect."""
        self._faults.append(Fault(operation, times, has_effect=moment == "after"))

    def clear_faults(self) -> None:
        """Respond normally again."""
        self._faults.clear()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Respond to a request."""
        del headers, seconds
        path = urlsplit(url).path.removeprefix("/api")
        with self._lock:
            operation, arguments = next(
                (name, [unquote(group) for group in match.groups()])
                for name, route_method, pattern in ROUTES
                if route_method == method and (match := re.fullmatch(pattern, path))
            )
            self.calls[operation] += 1
            fault = next((fault for fault in self._faults if fault.operation == operation and fault.times), None)
            if fault is None:
                return self._respond(operation, arguments, body)
            fault.times -= 1
            if fault.has_effect:
                self._respond(operation, arguments, body)
            if fault.response is None:
                raise TransportError("connection reset by peer")
            return fault.response

    def _respond(self, operation: str, arguments: list[str], body: bytes | None) -> HttpResponse:
        if operation == "token":
            return _json(200, {"access_token": f"token-{self.calls[operation]}", "expires_in": 3600})
        document = json.loads(body) if body else {}
        if operation == "login":
            if document["password"] != self.password:
                return _error("REQUEST_FAILED.LoginRejected")
            self.session = f"session-{self.calls[operation]}"
            return _json(200, {"sessionToken": self.session})
        if operation == "logout":
            return _json(200, {})
        account, *rest = arguments
        if account not in ACCOUNTS:
            return _error("REQUEST_FAILED.AccountNotFound")
        registrations = self.registrations.setdefault(account, {})
        if operation == "listCallbacks":
            return _json(200, list(registrations.values()))
        if operation == "registerCallback":
            registrations[document["name"]] = {**document, "serviceName": document["name"]}
        if operation == "deregisterCallback" and registrations.pop(rest[0], None) is None:
            return _error("REQUEST_FAILED.NotRegistered")
        return _json(200, {"messages": []} if operation == "smsHistory" else {"success": True})


def _json(status: int, document: Any) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(document).encode())


def _error(code: str) -> HttpResponse:
    return _json(400, {"errorCode": f"UnifiedWebService.{code}", "errorMessage": "an invented message"})
