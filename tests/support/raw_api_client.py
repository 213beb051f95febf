"""ThingSpace client over plain HTTP, so that the emulator's tests do not depend on the client under test."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

APP = ("emulator-app-key", "emulator-app-secret")
USERNAME = "emulator-user"
PASSWORD = "emulator-password"
ACCOUNT = "0000123456-00001"
OTHER_ACCOUNT = "0000123456-00002"
TEXT_SERVICE = "EnhancedConnectivityService"


@dataclass
class RawResponse:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Error code, in either JSON format."""
        value = self.json()
        return str(value.get("errorCode") or value.get("error") or value.get("fault", {}).get("code"))


@dataclass
class RawApiClient:
    """Client of one emulator; `url` ends in `/api`. Requests have the access token and session, once known."""

    url: str
    access_token: str | None = None
    session: str | None = None
    timeout: float = 60.0
    opened: list[http.client.HTTPConnection] = field(default_factory=list)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        root: bool = False,
    ) -> RawResponse:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self.timeout)
        try:
            connection.request(method, path if root else parts.path + path, body, headers or {})
            response = connection.getresponse()
            return RawResponse(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def m2m(self, method: str, path: str, body: Any = None, **headers: str) -> RawResponse:
        given = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.access_token is not None:
            given["Authorization"] = f"Bearer {self.access_token}"
        if self.session is not None:
            given["VZ-M2M-Token"] = self.session
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self.send(
            method, f"/m2m/v1{path}", content, given | {k.replace("_", "-"): v for k, v in headers.items()}
        )

    def request_token(
        self, app: tuple[str, str] = APP, form: str = "grant_type=client_credentials", path: str = "token"
    ) -> RawResponse:
        basic = base64.b64encode(":".join(app).encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", f"/ts/v1/oauth2/{path}", form.encode(), headers)

    def login(self, username: str = USERNAME, password: str = PASSWORD) -> RawResponse:
        return self.m2m("POST", "/session/login", {"username": username, "password": password})

    def log_in(self) -> RawApiClient:
        """Get an access token and a session."""
        self.access_token = self.request_token().json()["access_token"]
        self.session = self.login().json()["sessionToken"]
        return self

    def register(self, url: str, account: str = ACCOUNT, name: str = TEXT_SERVICE, **more: Any) -> RawResponse:
        return self.m2m("POST", f"/callbacks/{quote(account, safe='')}", {"name": name, "url": url, **more})

    def start_callbacks(self, account: str = ACCOUNT) -> RawResponse:
        return self.m2m("PUT", f"/sms/{account}/startCallbacks")

    def fetch_history(self, token: str | None = None, account: str = ACCOUNT) -> RawResponse:
        return self.m2m("GET", f"/sms/{account}/history" + ("" if token is None else f"?next={token}"))

    def control(self, method: str, path: str, body: Any = None) -> RawResponse:
        content = None if body is None else json.dumps(body).encode()
        return self.send(method, f"/_emulator/{path}", content, {"Content-Type": "application/json"}, root=True)

    def send_message(self, message: str, account: str = ACCOUNT, **more: Any) -> RawResponse:
        response = self.control("POST", "messages", {"accountName": account, "message": message, **more})
        assert response.status == 202, response.body
        return response

    def set_switches(self, **values: str) -> None:
        response = self.control("PUT", "switches", values)
        assert response.status == 200, response.body

    def advance_clock(self, seconds: float) -> None:
        response = self.control("POST", "clock", {"advanceSeconds": seconds})
        assert response.status == 200, response.body

    def wait_until_idle(self) -> None:
        assert self.control("GET", "idle?timeoutSeconds=30").json() == {"idle": True}

    def fetch_queue(self, account: str = ACCOUNT) -> list[str]:
        return [
            message["message"] for message in self.control("GET", f"queue?accountName={account}").json()["messages"]
        ]

    def fetch_journal(self) -> Any:
        return self.control("GET", "journal").json()

    def fetch_deliveries(self) -> list[tuple[int, str]]:
        return [(entry["attempt"], entry["outcome"]) for entry in self.fetch_journal()["deliveries"]]


def parse_next_token(response: RawResponse) -> str:
    """Return the token in a Location header."""
    return response.headers["location"].partition("?next=")[2]


def parse_messages(response: RawResponse) -> list[str]:
    """Return the messages of a history page."""
    return [entry["message"] for entry in response.json()["messages"]]
