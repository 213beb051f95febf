"""The calls of the ThingSpace Connectivity Management API (M2M v1) that SMS callbacks need, one method each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from thingspace_provider.api import answers, errors
from thingspace_provider.api.authentication import Authentication, unreachable
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.refused_logins import RefusedLogins
from thingspace_provider.api.transport import Answer, NoAnswer, RequestsTransport, Transport

ANSWER_SECONDS = 30.0
OK = 200
ACCEPTED = 202


@dataclass(frozen=True)
class Block:
    """Queued texts as `history` returns them: `deviceIds`, `message` and `timestamp` each.

    Presenting `next` acknowledges them and asks for the next block; it is None when the answer named no place to go
    on. `more` says whether ThingSpace has more than these.
    """

    messages: tuple[dict[str, Any], ...] = field(repr=False)
    next: str | None
    more: bool


@dataclass(frozen=True)
class Registration:
    """A callback listener as ThingSpace lists it; a credential that is not set is an empty string."""

    service_name: str
    url: str = field(repr=False)  # its path may hold a token
    username: str = ""
    password: str = field(default="", repr=False)


class Client:
    """ThingSpace for one set of credentials; safe for use by several threads.

    Every call gets a token and a session by itself. A refused token is fetched once more, a refused session
    is replaced by one new login; then the call is repeated once.

    Args:
        credentials: who calls, and where ThingSpace is.
        transport: how bytes travel; tests may bring their own.
        seconds: the longest wait for one answer.
        clock: monotonic seconds, for the age of a token.
        refused_logins: the record of wrong passwords that is shared with other processes.
    """

    def __init__(
        self,
        credentials: Credentials,
        transport: Transport | None = None,
        seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        refused_logins: RefusedLogins | None = None,
    ) -> None:
        self._credentials = credentials
        self._transport = transport or RequestsTransport()
        self._seconds = seconds
        self._authentication = Authentication(
            credentials, self._transport, seconds, clock, refused_logins or RefusedLogins()
        )

    def list_callbacks(self, account: str) -> list[Registration]:
        """The listeners registered for an account, passwords in clear as ThingSpace returns them.

        `GET /m2m/v1/callbacks/{account}`. None registered comes as an empty body, `[]` or `null`.
        """
        doing = "listing callback registrations"
        answer = self._call("listCallbacks", doing, "GET", f"/callbacks/{_part(account)}", account)
        if not answer.body.strip():
            return []
        try:
            entries = json.loads(answer.body)
        except (ValueError, RecursionError):
            entries = answer.body
        if entries is None:
            return []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _not_understood(doing, account, "the answer is not a list of registrations")
        return [_registration(entry) for entry in entries]

    def register_callback(self, account: str, registration: Registration) -> None:
        """Register a listener for one service of an account: `POST /m2m/v1/callbacks/{account}`.

        Whether it replaces a registration of the same service is not documented.
        """
        body = {"name": registration.service_name, "url": registration.url}  # answers call it serviceName
        if registration.username:
            body["username"] = registration.username
        if registration.password:
            body["password"] = registration.password
        doing = f"registering the {registration.service_name} listener"
        self._call("registerCallback", doing, "POST", f"/callbacks/{_part(account)}", account, body)

    def deregister_callback(self, account: str, service_name: str) -> None:
        """Remove the listener of one service: `DELETE /m2m/v1/callbacks/{account}/name/{service}`."""
        path = f"/callbacks/{_part(account)}/name/{_part(service_name)}"
        self._call("deregisterCallback", f"deregistering the {service_name} listener", "DELETE", path, account)

    def start_callbacks(self, account: str) -> None:
        """Have the queued texts of an account pushed: `PUT /m2m/v1/sms/{account}/startCallbacks`.

        Returning means that ThingSpace accepted the request, not that anything was delivered.
        """
        doing = "starting SMS callbacks"
        answer = self._call("startCallbacks", doing, "PUT", f"/sms/{_part(account)}/startCallbacks", account)
        if answers.json_object(answer.body).get("success") not in {True, "true"}:
            raise _not_understood(doing, account, "ThingSpace did not confirm with success: true")

    def read_history(self, account: str, next_: str | None = None) -> Block:
        """Read a block of up to 100 queued texts: `GET /m2m/v1/sms/{account}/history[?next=…]` (section 4.2).

        `next_`, opaque, is a block's `next`: it acknowledges that block, so store it first. Whether and how a last
        block (200) is acknowledged is not documented; an empty queue may come as an empty body.
        """
        doing = "reading queued texts"
        path = f"/sms/{_part(account)}/history" + (f"?next={_part(next_)}" if next_ is not None else "")
        answer = self._call("smsHistory", doing, "GET", path, account)
        messages = answers.json_object(answer.body).get("messages", None if answer.body.strip() else [])
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _not_understood(doing, account, "the answer holds no list of messages")
        place = parse_qs(urlsplit(answer.headers.get("location", "")).query).get("next")
        return Block(tuple(messages), place[0] if place else None, answer.status == ACCEPTED)

    def _call(
        self,
        operation: str,
        doing: str,
        method: str,
        path: str,
        account: str,
        body: dict[str, Any] | None = None,
    ) -> Answer:
        """Send one call, renewing a refused token or session once each."""
        url = f"{self._credentials.base_url.rstrip('/')}/m2m/v1{path}"
        content = None if body is None else json.dumps(body).encode()
        renewed: set[type[errors.Refused]] = set()
        while True:
            headers = self._authentication.headers()
            try:
                answer = self._transport.send(method, url, headers, content, self._seconds)
            except NoAnswer as error:
                raise unreachable(doing, account, self._credentials, error) from None
            if answer.status in {OK, ACCEPTED}:
                return answer
            refusal = answers.refusal(operation, doing, account, answer.status, answer.body)
            if type(refusal) in renewed or not isinstance(refusal, errors.BearerRefused | errors.SessionRefused):
                raise refusal
            renewed.add(type(refusal))
            self._authentication.forget(
                headers,
                bearer=isinstance(refusal, errors.BearerRefused),
                session=isinstance(refusal, errors.SessionRefused),
            )


def _registration(entry: dict[str, Any]) -> Registration:
    return Registration(
        service_name=str(entry.get("serviceName") or entry.get("name") or ""),
        url=str(entry.get("url") or ""),
        username=str(entry.get("username") or ""),
        password=str(entry.get("password") or ""),
    )


def _not_understood(doing: str, account: str, answer: str) -> errors.AnswerNotUnderstood:
    return errors.AnswerNotUnderstood(
        doing, account, answer, "Check THINGSPACE_BASE_URL: is that ThingSpace, and no proxy in its place?"
    )


def _part(text: str) -> str:
    """One segment of a path, nothing in it able to leave its place."""
    return quote(text, safe="")
