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
from thingspace_provider.api.authentication import Authentication, header_secrets
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.api.limits import Limits
from thingspace_provider.api.login_guard import LoginGuard
from thingspace_provider.api.requester import ApiRequester, RateLimiter
from thingspace_provider.api.transport import HttpResponse, RequestsTransport, Transport
from thingspace_provider.common.urls import url_secrets

LOGOUT_SECONDS = 2.0
OK = 200
ACCEPTED = 202
# What a DELETE of something that is not there may be called; the code is not documented.
POSSIBLE_NOT_FOUND = (errors.ErrorResponse, errors.InputRejected, errors.RouteNotFound)


@dataclass(frozen=True)
class HistoryPage:
    """Queued texts as `history` returns them: `deviceIds`, `message` and `timestamp` each.

    Presenting `next` acknowledges them and asks for the next block; it is None when the answer named no place to go
    on. `more` says whether ThingSpace has more than these.
    """

    messages: tuple[dict[str, Any], ...] = field(repr=False)
    next_token: str | None
    has_more: bool


@dataclass(frozen=True)
class Registration:
    """A callback listener as ThingSpace lists it; a credential that is not set is an empty string."""

    service_name: str
    url: str = field(repr=False)  # its path may hold a token
    username: str = ""
    password: str = field(default="", repr=False)


class ThingSpaceClient:
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
        login_guard: LoginGuard | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._requester = ApiRequester(
            credentials, transport or RequestsTransport(), RateLimiter(self._limits.calls_per_second, clock)
        )
        self._authentication = Authentication(credentials, self._requester, clock, login_guard or LoginGuard())
        self._deadline: Deadline | None = None
        self._secrets: tuple[object, ...] = ()

    def with_deadline(self, deadline: Deadline, secrets: Iterable[object] = ()) -> ThingSpaceClient:
        """The same client for the calls of one operation, which share its time; else each call has its own.

        `secrets` are shown in no error, even when ThingSpace repeats them.
        """
        bound = copy.copy(self)
        bound._deadline, bound._secrets = deadline, tuple(secrets)  # noqa: SLF001  our own copy
        return bound

    def login(self) -> None:
        """Get a token and a session now, instead of with the first call."""
        self._authentication.headers(self._current_deadline())

    def logout(self) -> None:
        """End the session, if there is one, for a program's end: two seconds at most, and no error."""
        self._authentication.logout(Deadline(Limits(LOGOUT_SECONDS, LOGOUT_SECONDS)))

    def list_callbacks(self, account: str) -> list[Registration]:
        """The listeners registered for an account, passwords in clear as ThingSpace returns them.

        `GET /m2m/v1/callbacks/{account}`. None registered comes as an empty body, `[]` or `null`.
        """
        action = "listing callback registrations"
        response = self._call("listCallbacks", action, "GET", f"/callbacks/{_quote_segment(account)}", account)
        if not response.body.strip():
            return []
        try:
            entries = json.loads(response.body)
        except (ValueError, RecursionError):
            entries = response.body
        if entries is None:
            return []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _unexpected_response(action, account, "the answer is not a list of registrations")
        return [_parse_registration(entry) for entry in entries]

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
        action = f"registering the {registration.service_name} listener"
        deadline = self._current_deadline()
        attempted = False

        def attempt() -> None:
            nonlocal attempted
            if attempted and registration in self.with_deadline(deadline).list_callbacks(account):
                return
            attempted = True
            self._send_with_reauthentication(
                deadline, "registerCallback", action, "POST", f"/callbacks/{_quote_segment(account)}", account, body
            )

        deadline.retry_transient(attempt)

    def deregister_callback(self, account: str, service_name: str) -> None:
        """Remove the listener of one service: `DELETE /m2m/v1/callbacks/{account}/name/{service}`.

        That there is none any more is success.
        """
        path = f"/callbacks/{_quote_segment(account)}/name/{_quote_segment(service_name)}"
        action = f"deregistering the {service_name} listener"
        try:
            self._call("deregisterCallback", action, "DELETE", path, account)
        except errors.ErrorResponse as error:
            registrations = self.list_callbacks(account) if type(error) in POSSIBLE_NOT_FOUND else None
            if registrations is None or any(entry.service_name == service_name for entry in registrations):
                raise

    def start_callbacks(self, account: str) -> None:
        """Have the queued texts of an account pushed: `PUT /m2m/v1/sms/{account}/startCallbacks`.

        Returning means that ThingSpace accepted the request, not that anything was delivered.
        """
        action = "starting SMS callbacks"
        response = self._call(
            "startCallbacks", action, "PUT", f"/sms/{_quote_segment(account)}/startCallbacks", account
        )
        success = error_responses.parse_json_object(response.body).get("success")
        if success is not True and success != "true":
            raise _unexpected_response(action, account, "ThingSpace did not confirm with success: true")

    def read_history(self, account: str, page_token: str | None = None) -> HistoryPage:
        """Read a block of up to 100 queued texts: `GET /m2m/v1/sms/{account}/history[?next=…]`.

        `next_`, opaque, is a block's `next`: it acknowledges that block, so store it first. Whether and how a last
        block (200) is acknowledged is not documented; an empty queue may come as an empty body.
        """
        action = "reading queued texts"
        path = f"/sms/{_quote_segment(account)}/history" + (
            f"?next={_quote_segment(page_token)}" if page_token is not None else ""
        )
        response = self._call("smsHistory", action, "GET", path, account)
        messages = error_responses.parse_json_object(response.body).get(
            "messages", None if response.body.strip() else []
        )
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _unexpected_response(action, account, "the answer holds no list of messages")
        next_tokens = parse_qs(urlsplit(response.headers.get("location", "")).query).get("next")
        return HistoryPage(tuple(messages), next_tokens[0] if next_tokens else None, response.status == ACCEPTED)

    def _current_deadline(self) -> Deadline:
        """The present operation's time, or that of a call that is an operation of its own."""
        return self._deadline or Deadline(self._limits)

    def _call(self, operation: str, action: str, method: str, path: str, account: str) -> HttpResponse:
        """A call that may be repeated: sent twice, it does what it does sent once."""
        deadline = self._current_deadline()
        return deadline.retry_transient(
            lambda: self._send_with_reauthentication(deadline, operation, action, method, path, account)
        )

    def _send_with_reauthentication(
        self,
        deadline: Deadline,
        operation: str,
        action: str,
        method: str,
        path: str,
        account: str,
        body: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Send one call, renewing a refused token or session once each."""
        content = None if body is None else json.dumps(body).encode()
        renewed: set[type[errors.ErrorResponse]] = set()
        while True:
            headers = self._authentication.headers(deadline)
            response = self._requester.send(deadline, action, account, method, f"/m2m/v1{path}", headers, content)
            if response.status in {OK, ACCEPTED}:
                return response
            secrets = (*self._secrets, *header_secrets(headers), *_registration_secrets(body or {}))
            error = self._requester.error_from_response(operation, action, account, response, secrets)
            if type(error) in renewed or not isinstance(error, errors.AccessTokenRejected | errors.SessionRejected):
                raise error
            renewed.add(type(error))
            self._authentication.invalidate(
                headers,
                access_token=isinstance(error, errors.AccessTokenRejected),
                session=isinstance(error, errors.SessionRejected),
            )


def _parse_registration(entry: dict[str, Any]) -> Registration:
    return Registration(
        service_name=str(entry.get("serviceName") or entry.get("name") or ""),
        url=str(entry.get("url") or ""),
        username=str(entry.get("username") or ""),
        password=str(entry.get("password") or ""),
    )


def _registration_secrets(body: dict[str, Any]) -> list[object]:
    """What is secret in a registration."""
    return [body.get("password"), *url_secrets(body.get("url", ""))]


def _unexpected_response(action: str, account: str, detail: str) -> errors.UnexpectedResponse:
    return errors.UnexpectedResponse(
        action, account, detail, "Check THINGSPACE_BASE_URL: is that ThingSpace, and no proxy in its place?"
    )


def _quote_segment(text: str) -> str:
    """One segment of a path, nothing in it able to leave its place."""
    return quote(text, safe="")
