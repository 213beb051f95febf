"""ThingSpace's calls over bare HTTP, so that the emulator's tests lean on no client of ours."""

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
TEXTS = "EnhancedConnectivityService"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code, in whichever of the JSON dialects."""
        value = self.json()
        return str(value.get("errorCode") or value.get("error") or value.get("fault", {}).get("code"))


@dataclass
class Caller:
    """One client of one emulator; `url` ends in `/api`. Bearer and session are sent once they are known."""

    url: str
    bearer: str | None = None
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
    ) -> Reply:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=self.timeout)
        try:
            connection.request(method, path if root else parts.path + path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def m2m(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        given = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.bearer is not None:
            given["Authorization"] = f"Bearer {self.bearer}"
        if self.session is not None:
            given["VZ-M2M-Token"] = self.session
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        return self.send(
            method, f"/m2m/v1{path}", content, given | {k.replace("_", "-"): v for k, v in headers.items()}
        )

    def token(
        self, app: tuple[str, str] = APP, form: str = "grant_type=client_credentials", path: str = "token"
    ) -> Reply:
        basic = base64.b64encode(":".join(app).encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", f"/ts/v1/oauth2/{path}", form.encode(), headers)

    def login(self, username: str = USERNAME, password: str = PASSWORD) -> Reply:
        return self.m2m("POST", "/session/login", {"username": username, "password": password})

    def ready(self) -> Caller:
        """With a bearer and a session."""
        self.bearer = self.token().json()["access_token"]
        self.session = self.login().json()["sessionToken"]
        return self

    def register(self, url: str, account: str = ACCOUNT, name: str = TEXTS, **more: Any) -> Reply:
        return self.m2m("POST", f"/callbacks/{quote(account, safe='')}", {"name": name, "url": url, **more})

    def start(self, account: str = ACCOUNT) -> Reply:
        return self.m2m("PUT", f"/sms/{account}/startCallbacks")

    def history(self, token: str | None = None, account: str = ACCOUNT) -> Reply:
        return self.m2m("GET", f"/sms/{account}/history" + ("" if token is None else f"?next={token}"))

    def control(self, method: str, path: str, body: Any = None) -> Reply:
        content = None if body is None else json.dumps(body).encode()
        return self.send(method, f"/_emulator/{path}", content, {"Content-Type": "application/json"}, root=True)

    def text(self, message: str, account: str = ACCOUNT, **more: Any) -> Reply:
        reply = self.control("POST", "messages", {"accountName": account, "message": message, **more})
        assert reply.status == 202, reply.body
        return reply

    def switch(self, **values: str) -> None:
        reply = self.control("PUT", "switches", values)
        assert reply.status == 200, reply.body

    def advance(self, seconds: float) -> None:
        reply = self.control("POST", "clock", {"advanceSeconds": seconds})
        assert reply.status == 200, reply.body

    def settle(self) -> None:
        assert self.control("GET", "settled?timeoutSeconds=30").json() == {"settled": True}

    def queued(self, account: str = ACCOUNT) -> list[str]:
        return [text["message"] for text in self.control("GET", f"queue?accountName={account}").json()["messages"]]

    def journal(self) -> Any:
        return self.control("GET", "journal").json()

    def deliveries(self) -> list[tuple[int, str]]:
        return [(entry["attempt"], entry["outcome"]) for entry in self.journal()["deliveries"]]


def next_of(reply: Reply) -> str:
    """The token in a Location header."""
    return reply.headers["location"].partition("?next=")[2]


def messages_of(reply: Reply) -> list[str]:
    """The texts of a block."""
    return [entry["message"] for entry in reply.json()["messages"]]
