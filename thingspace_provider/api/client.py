"""Client for the API operations that SMS callbacks need (Connectivity Management API, M2M v1)."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from thingspace_provider.api import error_responses, errors
from thingspace_provider.api.authentication import BASE_URL_HINT, Authentication, header_secrets
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.api.limits import Limits
from thingspace_provider.api.login_guard import LoginGuard
from thingspace_provider.api.rate_limiter import RateLimiter
from thingspace_provider.api.retry import attempts
from thingspace_provider.api.transport import ApiRequester, Call, HttpResponse, RequestsTransport, Transport
from thingspace_provider.common.urls import url_secrets

LOGOUT_TIMEOUT_SECONDS = 2.0
OK = 200
ACCEPTED = 202
# Error classes of a DELETE of a missing registration; ThingSpace does not document its code.
POSSIBLE_NOT_FOUND = (errors.ErrorResponse, errors.InputRejected, errors.RouteNotFound)


@dataclass(frozen=True)
class HistoryPage:
    """Page of queued messages from `history`.

    Args:
        messages: up to 100 objects with `deviceIds`, `message` and `timestamp`.
        next_token: token of the next page, which acknowledges this one; None if the response names none.
        has_more: whether ThingSpace has further messages.
    """

    messages: tuple[dict[str, Any], ...] = field(repr=False)
    next_token: str | None
    has_more: bool


@dataclass(frozen=True)
class Registration:
    """Callback registration as ThingSpace lists it; an unset credential is an empty string."""

    service_name: str
    url: str = field(repr=False)  # its path can hold a token
    username: str = ""
    password: str = field(default="", repr=False)


class ThingSpaceClient:
    """Client of ThingSpace for one set of credentials. Safe for use by several threads.

    The client gets a token and a session when a call needs them. A rejected token or session is renewed once, then
    the call is repeated once. Transient errors are retried within the deadline.

    Args:
        credentials: the ThingSpace user and the base URL.
        transport: sends the requests; by default over HTTP.
        limits: timeouts and the rate of calls.
        clock: monotonic time in seconds.
        login_guard: record of rejected logins, shared with other processes.
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
        """Return this client for one resource operation, whose calls share a deadline.

        Without it, every call has a deadline of its own. Token, session and rate limit stay shared.

        Args:
            deadline: the deadline of the resource operation.
            secrets: values that no error may show, even if ThingSpace repeats them.
        """
        bound = copy.copy(self)
        bound._deadline, bound._secrets = deadline, tuple(secrets)  # noqa: SLF001  a copy of this object
        return bound

    def login(self) -> None:
        """Get a token and a session now instead of with the first call."""
        self._authentication.headers(self._current_deadline())

    def logout(self) -> None:
        """End the session, if there is one. Takes at most two seconds and raises no error."""
        self._authentication.logout(Deadline(Limits(LOGOUT_TIMEOUT_SECONDS, LOGOUT_TIMEOUT_SECONDS)))

    def list_callbacks(self, account: str) -> list[Registration]:
        """List the registrations of an account, with plaintext passwords as ThingSpace returns them.

        `GET /m2m/v1/callbacks/{account}`. Without registrations, the body is empty, `[]` or `null`.
        """
        call = self._build_call(
            "listCallbacks", "listing callback registrations", "GET", f"/callbacks/{_quote_segment(account)}", account
        )
        response = self._send(call)
        if not response.body.strip():
            return []
        try:
            entries = json.loads(response.body)
        except (ValueError, RecursionError):
            entries = response.body
        if entries is None:
            return []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _unexpected_response(call, "the response is not a list of registrations")
        return [_parse_registration(entry) for entry in entries]

    def register_callback(self, account: str, registration: Registration) -> None:
        """Register a listener for one service of an account: `POST /m2m/v1/callbacks/{account}`.

        ThingSpace does not document whether this replaces a registration of the same service. So after a transient
        error it is sent again only if the list does not show the registration.
        """
        body = {"name": registration.service_name, "url": registration.url}  # responses call it serviceName
        if registration.username:
            body["username"] = registration.username
        if registration.password:
            body["password"] = registration.password
        call = self._build_call(
            "registerCallback",
            f"registering the {registration.service_name} listener",
            "POST",
            f"/callbacks/{_quote_segment(account)}",
            account,
            body=json.dumps(body).encode(),
            secrets=(registration.password, *url_secrets(registration.url)),
        )
        deadline = self._current_deadline()
        is_retry = False
        for attempt in attempts(deadline):
            with attempt:
                if is_retry and registration in self.with_deadline(deadline).list_callbacks(account):
                    return
                is_retry = True
                self._send_with_reauthentication(deadline, call)

    def deregister_callback(self, account: str, service_name: str) -> None:
        """Remove the registration of one service: `DELETE /m2m/v1/callbacks/{account}/name/{service}`.

        A missing registration is success.
        """
        path = f"/callbacks/{_quote_segment(account)}/name/{_quote_segment(service_name)}"
        action = f"deregistering the {service_name} listener"
        try:
            self._send(self._build_call("deregisterCallback", action, "DELETE", path, account))
        except errors.ErrorResponse as error:
            registrations = self.list_callbacks(account) if type(error) in POSSIBLE_NOT_FOUND else None
            if registrations is None or any(entry.service_name == service_name for entry in registrations):
                raise

    def start_callbacks(self, account: str) -> None:
        """Request delivery of the queued messages of an account: `PUT /m2m/v1/sms/{account}/startCallbacks`.

        On return, ThingSpace has accepted the request. It may not have delivered anything.
        """
        path = f"/sms/{_quote_segment(account)}/startCallbacks"
        call = self._build_call("startCallbacks", "starting SMS callbacks", "PUT", path, account)
        success = error_responses.parse_json_object(self._send(call).body).get("success")
        if success is not True and success != "true":
            raise _unexpected_response(call, "ThingSpace did not confirm with success: true")

    def read_history(self, account: str, page_token: str | None = None) -> HistoryPage:
        """Read a page of queued messages: `GET /m2m/v1/sms/{account}/history[?next=…]`.

        Store a page before you request the next one. ThingSpace does not document whether and how a last page (200)
        is acknowledged. An empty queue can be an empty body.

        Args:
            account: the account.
            page_token: `next_token` of the page before; acknowledges that page.
        """
        query = f"?next={_quote_segment(page_token)}" if page_token is not None else ""
        path = f"/sms/{_quote_segment(account)}/history{query}"
        call = self._build_call("smsHistory", "reading queued messages", "GET", path, account)
        response = self._send(call)
        empty: list[Any] | None = None if response.body.strip() else []
        messages = error_responses.parse_json_object(response.body).get("messages", empty)
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _unexpected_response(call, "the response holds no list of messages")
        next_tokens = parse_qs(urlsplit(response.headers.get("location", "")).query).get("next")
        return HistoryPage(tuple(messages), next_tokens[0] if next_tokens else None, response.status == ACCEPTED)

    def _current_deadline(self) -> Deadline:
        """Return the deadline of the resource operation, or a new one for a single call."""
        return self._deadline or Deadline(self._limits)

    def _build_call(
        self,
        operation: str,
        action: str,
        method: str,
        path: str,
        account: str,
        *,
        body: bytes | None = None,
        secrets: tuple[object, ...] = (),
    ) -> Call:
        return Call(operation, action, method, f"/m2m/v1{path}", account, body, (*self._secrets, *secrets))

    def _send(self, call: Call) -> HttpResponse:
        """Send an idempotent call, with retries."""
        deadline = self._current_deadline()
        for attempt in attempts(deadline):
            with attempt:
                return self._send_with_reauthentication(deadline, call)
        raise AssertionError  # the loop returns or raises

    def _send_with_reauthentication(self, deadline: Deadline, call: Call) -> HttpResponse:
        """Send a call; renew a rejected token or session once each."""
        renewed: set[type[errors.ErrorResponse]] = set()
        while True:
            headers = self._authentication.headers(deadline)
            response = self._requester.send(deadline, call, headers)
            if response.status in {OK, ACCEPTED}:
                return response
            error = self._requester.error_from_response(call, response, header_secrets(headers))
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


def _unexpected_response(call: Call, detail: str) -> errors.UnexpectedResponse:
    return errors.UnexpectedResponse(call.action, call.account, detail, BASE_URL_HINT)


def _quote_segment(text: str) -> str:
    """Quote one path segment, slashes included."""
    return quote(text, safe="")
