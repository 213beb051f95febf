"""The calls of the ThingSpace Connectivity Management API (M2M v1) that SMS callbacks need, one method each."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from thingspace_provider.api import error_responses, errors
from thingspace_provider.api.authentication import Authentication, sent_secrets
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Patience
from thingspace_provider.api.limits import Limits
from thingspace_provider.api.login_guard import RefusedLogins
from thingspace_provider.api.requester import Pace, Wire
from thingspace_provider.api.transport import Answer, RequestsTransport, Transport
from thingspace_provider.common.urls import secrets_in

LOGOUT_SECONDS = 2.0
OK = 200
ACCEPTED = 202
# What a DELETE of something that is not there may be called; the code is not documented.
MAY_MEAN_GONE = (errors.Refused, errors.InputRefused, errors.RouteRefused)


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
    is replaced by one new login; then the call is repeated once. What failed for a passing reason is tried again as
    long as there is time: listing, deregistering and starting callbacks as they are, registering after a look
    whether it was taken.

    Args:
        credentials: who calls, and where ThingSpace is.
        transport: how bytes travel; tests may bring their own.
        limits: time for one operation and one answer, and calls a second.
        clock: monotonic seconds, for the age of a token.
        refused_logins: the record of wrong passwords that is shared with other processes.
    """

    def __init__(
        self,
        credentials: Credentials,
        transport: Transport | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        refused_logins: RefusedLogins | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._wire = Wire(credentials, transport or RequestsTransport(), Pace(self._limits.rate, clock))
        self._authentication = Authentication(credentials, self._wire, clock, refused_logins or RefusedLogins())
        self._patience: Patience | None = None
        self._secrets: tuple[object, ...] = ()

    def within(self, patience: Patience, secrets: Iterable[object] = ()) -> Client:
        """The same client for the calls of one operation, which share its time; else each call has its own.

        `secrets` are shown in no error, even when ThingSpace repeats them.
        """
        bound = copy.copy(self)
        bound._patience, bound._secrets = patience, tuple(secrets)  # noqa: SLF001  our own copy
        return bound

    def login(self) -> None:
        """Get a token and a session now, instead of with the first call."""
        self._authentication.headers(self._now())

    def logout(self) -> None:
        """End the session, if there is one, for a program's end: two seconds at most, and no error."""
        self._authentication.logout(Patience(Limits(LOGOUT_SECONDS, LOGOUT_SECONDS)))

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

        Whether it replaces a registration of the same service is not documented. So one that got no clear answer is
        repeated only when the list shows that it was not taken.
        """
        body = {"name": registration.service_name, "url": registration.url}  # answers call it serviceName
        if registration.username:
            body["username"] = registration.username
        if registration.password:
            body["password"] = registration.password
        doing = f"registering the {registration.service_name} listener"
        patience = self._now()
        tried = False

        def attempt() -> None:
            nonlocal tried
            if tried and registration in self.within(patience).list_callbacks(account):
                return
            tried = True
            self._once(patience, "registerCallback", doing, "POST", f"/callbacks/{_part(account)}", account, body)

        patience.repeat(attempt)

    def deregister_callback(self, account: str, service_name: str) -> None:
        """Remove the listener of one service: `DELETE /m2m/v1/callbacks/{account}/name/{service}`.

        That there is none any more is success.
        """
        path = f"/callbacks/{_part(account)}/name/{_part(service_name)}"
        doing = f"deregistering the {service_name} listener"
        try:
            self._call("deregisterCallback", doing, "DELETE", path, account)
        except errors.Refused as refusal:
            listed = self.list_callbacks(account) if type(refusal) in MAY_MEAN_GONE else None
            if listed is None or any(entry.service_name == service_name for entry in listed):
                raise

    def start_callbacks(self, account: str) -> None:
        """Have the queued texts of an account pushed: `PUT /m2m/v1/sms/{account}/startCallbacks`.

        Returning means that ThingSpace accepted the request, not that anything was delivered.
        """
        doing = "starting SMS callbacks"
        answer = self._call("startCallbacks", doing, "PUT", f"/sms/{_part(account)}/startCallbacks", account)
        success = error_responses.json_object(answer.body).get("success")
        if success is not True and success != "true":
            raise _not_understood(doing, account, "ThingSpace did not confirm with success: true")

    def read_history(self, account: str, next_: str | None = None) -> Block:
        """Read a block of up to 100 queued texts: `GET /m2m/v1/sms/{account}/history[?next=…]`.

        `next_`, opaque, is a block's `next`: it acknowledges that block, so store it first. Whether and how a last
        block (200) is acknowledged is not documented; an empty queue may come as an empty body.
        """
        doing = "reading queued texts"
        path = f"/sms/{_part(account)}/history" + (f"?next={_part(next_)}" if next_ is not None else "")
        answer = self._call("smsHistory", doing, "GET", path, account)
        messages = error_responses.json_object(answer.body).get("messages", None if answer.body.strip() else [])
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _not_understood(doing, account, "the answer holds no list of messages")
        place = parse_qs(urlsplit(answer.headers.get("location", "")).query).get("next")
        return Block(tuple(messages), place[0] if place else None, answer.status == ACCEPTED)

    def _now(self) -> Patience:
        """The present operation's time, or that of a call that is an operation of its own."""
        return self._patience or Patience(self._limits)

    def _call(self, operation: str, doing: str, method: str, path: str, account: str) -> Answer:
        """A call that may be repeated: sent twice, it does what it does sent once."""
        patience = self._now()
        return patience.repeat(lambda: self._once(patience, operation, doing, method, path, account))

    def _once(
        self,
        patience: Patience,
        operation: str,
        doing: str,
        method: str,
        path: str,
        account: str,
        body: dict[str, Any] | None = None,
    ) -> Answer:
        """Send one call, renewing a refused token or session once each."""
        content = None if body is None else json.dumps(body).encode()
        renewed: set[type[errors.Refused]] = set()
        while True:
            headers = self._authentication.headers(patience)
            answer = self._wire.send(patience, doing, account, method, f"/m2m/v1{path}", headers, content)
            if answer.status in {OK, ACCEPTED}:
                return answer
            secrets = (*self._secrets, *sent_secrets(headers), *_secrets_in(body or {}))
            refusal = self._wire.refusal(operation, doing, account, answer, secrets)
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


def _secrets_in(body: dict[str, Any]) -> list[object]:
    """What is secret in a registration."""
    return [body.get("password"), *secrets_in(body.get("url", ""))]


def _not_understood(doing: str, account: str, answer: str) -> errors.AnswerNotUnderstood:
    return errors.AnswerNotUnderstood(
        doing, account, answer, "Check THINGSPACE_BASE_URL: is that ThingSpace, and no proxy in its place?"
    )


def _part(text: str) -> str:
    """One segment of a path, nothing in it able to leave its place."""
    return quote(text, safe="")
