"""Access token and session of one ThingSpace user, shared by all threads of a client."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from thingspace_provider.api import error_responses, errors
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.api.login_guard import LOCKOUT_THRESHOLD, LoginGuard, LoginRecord
from thingspace_provider.api.retry import attempts
from thingspace_provider.api.transport import ApiRequester, Call, HttpResponse

if TYPE_CHECKING:
    from typing import TypeGuard

JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
TOKEN_REFRESH_MARGIN_SECONDS = 120.0
DEFAULT_TOKEN_LIFETIME_SECONDS = 3600.0  # if ThingSpace names none
MAX_UNKNOWN_OUTCOMES = 2  # in a row; each can be a failed login
UNAVAILABLE = 503
OK = 200
BASE_URL_HINT = "Check THINGSPACE_BASE_URL, and that no proxy responds in place of ThingSpace."


class Authentication:
    """Access token and session token of one ThingSpace user.

    One lock makes every login single-flight: other threads wait for its result. A rejected login is recorded in the
    login guard and not repeated with the same credentials, because ThingSpace locks a user after five in a row.
    """

    def __init__(
        self, credentials: Credentials, requester: ApiRequester, clock: Callable[[], float], login_guard: LoginGuard
    ) -> None:
        self._credentials = credentials
        self._requester = requester
        self._clock = clock
        self._login_guard = login_guard
        self._lock = threading.RLock()
        self._token = ""
        self._token_expires_at = 0.0
        self._session = ""
        self._blocked_by: errors.ThingSpaceError | None = None  # the error that ended all calls of this client
        self._unknown_outcomes = 0  # logins in a row with an unknown outcome
        self._is_override = False  # whether the next login is the one that the override permitted

    def headers(self, deadline: Deadline) -> dict[str, str]:
        """Return the headers of an m2m call; fetch a token and log in if necessary."""
        with self._locked(deadline):
            self._raise_if_blocked()
            token = self._access_token(deadline)
            if not self._session:
                self._session = self._login(deadline)
            return self._build_headers(token, self._session)

    def invalidate(self, sent_headers: dict[str, str], *, access_token: bool = False, session: bool = False) -> None:
        """Discard a rejected token, unless another thread has replaced it."""
        with self._lock:
            if access_token and sent_headers["Authorization"] == f"Bearer {self._token}":
                self._token = ""
            if session and sent_headers["VZ-M2M-Token"] == self._session:
                self._session = ""

    def logout(self, deadline: Deadline) -> None:
        """End the session, if there is one. Errors are ignored: ThingSpace ends an idle session after 20 minutes."""
        with self._lock:
            session, self._session = self._session, ""
        if session:
            call = Call("logout", "logging out", "POST", "/m2m/v1/session/logout")
            with contextlib.suppress(errors.ThingSpaceError):
                self._requester.send(deadline, call, self._build_headers(self._token, session))

    @contextlib.contextmanager
    def _locked(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock. Another thread holds it at most until its own deadline."""
        action, waiting_for = "calling ThingSpace", "the login of another resource"
        with deadline.log_if_slow(action, None, waiting_for):
            acquired = self._lock.acquire(timeout=deadline.remaining_seconds())
        if not acquired:
            raise deadline.exceeded(action, None, f"waited for {waiting_for}")
        try:
            yield
        finally:
            self._lock.release()

    @staticmethod
    def _build_headers(token: str, session: str) -> dict[str, str]:
        return {**JSON_HEADERS, "Authorization": f"Bearer {token}", "VZ-M2M-Token": session}

    def _raise_if_blocked(self) -> None:
        if isinstance(self._blocked_by, errors.ErrorResponse):
            response = f"{self._blocked_by.status} {self._blocked_by.code}".rstrip()
            raise errors.LoginBlocked(
                "calling ThingSpace",
                detail=f"login skipped: ThingSpace rejected these credentials earlier in this run ({response})",
                hint="Correct them as the first error describes. It ends the run for all resources.",
            )
        if self._blocked_by is not None:
            raise errors.LoginBlocked(
                "calling ThingSpace",
                detail="login skipped: the first login of this run returned no session, and another one may count as "
                f"a failed login; {LOCKOUT_THRESHOLD} in a row lock the user",
                hint="Follow the hint of the first error. It ends the run for all resources.",
            )

    def _access_token(self, deadline: Deadline) -> str:
        if not self._token or self._clock() >= self._token_expires_at:
            requested_at = self._clock()
            for attempt in attempts(deadline):
                with attempt:
                    document = self._fetch_token(deadline)
            token = document.get("access_token")
            if not _is_token(token):
                raise errors.UnexpectedResponse(
                    "getting an access token", detail="the response holds no access_token", hint=BASE_URL_HINT
                )
            lifetime = _token_lifetime(document.get("expires_in"))
            # ThingSpace returns the same token again within its hour, so its remaining lifetime can be short. Such a
            # token is used until it expires: with a margin, every call would fetch it again.
            self._token_expires_at = requested_at + (
                lifetime - TOKEN_REFRESH_MARGIN_SECONDS if lifetime > 2 * TOKEN_REFRESH_MARGIN_SECONDS else lifetime
            )
            self._token = token
        return self._token

    def _fetch_token(self, deadline: Deadline) -> dict[str, Any]:
        key_pair = f"{self._credentials.app_key}:{self._credentials.app_secret}".encode()
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": "Basic " + base64.b64encode(key_pair).decode(),
        }
        body = urlencode({"grant_type": "client_credentials"}).encode()
        call = Call("token", "getting an access token", "POST", "/ts/v1/oauth2/token", body=body)
        response = self._requester.send(deadline, call, headers)
        if response.status != OK:
            error = self._requester.error_from_response(call, response)
            if isinstance(error, errors.ApplicationKeyRejected):
                self._blocked_by = error
            raise error
        return error_responses.parse_json_object(response.body)

    def _login(self, deadline: Deadline) -> str:
        body = json.dumps({"username": self._credentials.username, "password": self._credentials.password}).encode()
        action = f"logging in to ThingSpace as {self._credentials.username}"
        call = Call("login", action, "POST", "/m2m/v1/session/login", body=body)
        with self._login_guard.lock(self._credentials, deadline.remaining_seconds()) as acquired:
            if not acquired:
                raise deadline.exceeded(action, None, "waited for the login of another process")
            self._check_login_guard(action)
            for attempt in attempts(deadline, lambda _: not self._has_too_many_unknown_outcomes()):
                with attempt:
                    session = self._try_login(call, deadline)
            self._unknown_outcomes, self._is_override = 0, False
            self._login_guard.clear(self._credentials)
            return session

    def _check_login_guard(self, action: str) -> None:
        """Raise LoginBlocked if another login could lock the user."""
        if self._has_too_many_unknown_outcomes():
            logins = "1 login" if self._unknown_outcomes == 1 else f"{self._unknown_outcomes} logins"
            raise errors.LoginBlocked(
                action,
                detail=f"login blocked: {logins} of this run had an unknown outcome, and each may count as a failed "
                f"login; {LOCKOUT_THRESHOLD} in a row lock the user",
                hint="Run it again when ThingSpace responds.",
            )
        record = self._login_guard.find_rejected(self._credentials)
        if record is None or self._is_override:
            return
        self._is_override = self._login_guard.use_override(self._credentials)
        if not self._is_override:
            raise errors.LoginBlocked(
                action,
                detail="login blocked: ThingSpace rejected this password in an earlier run on this machine",
                hint=f"{_describe_failed_logins(record)} Correct THINGSPACE_PASSWORD. "
                f"{self._login_guard.override_hint(self._credentials)}",
            )

    def _has_too_many_unknown_outcomes(self) -> bool:
        """Return whether unknown outcomes forbid another login. An override permits one login only."""
        return self._unknown_outcomes >= (1 if self._is_override else MAX_UNKNOWN_OUTCOMES)

    def _try_login(self, call: Call, deadline: Deadline) -> str:
        """Send one login and return its session token. A rejected access token is renewed once."""
        token_renewed = False
        while True:
            headers = {**JSON_HEADERS, "Authorization": f"Bearer {self._access_token(deadline)}"}
            response = self._send_login(call, deadline, headers)
            if response.status // 100 == OK // 100:
                session = error_responses.parse_json_object(response.body).get("sessionToken")
                if _is_token(session):
                    return session
                if error_responses.parse_error_body(response.body).format == "other":
                    # The login may have succeeded, so it is not recorded as failed.
                    self._blocked_by = errors.UnexpectedResponse(
                        call.action,
                        detail="the response holds no sessionToken",
                        hint=f"{BASE_URL_HINT} This run sends no other login, because this one may have counted as a "
                        "failed login.",
                    )
                    raise self._blocked_by
            error = self._requester.error_from_response(call, response, header_secrets(headers))
            if isinstance(error, errors.AccessTokenRejected) and not token_renewed:
                token_renewed = True  # the gateway stopped the login, so ThingSpace did not count it
                self._token = ""
                continue
            if isinstance(error, errors.ServerError) and error.status != UNAVAILABLE:
                self._unknown_outcomes += 1
            if isinstance(error, errors.LoginRejected):
                failed_logins = _describe_failed_logins(self._login_guard.record_failure(self._credentials))
                error = errors.LoginRejected(
                    call.action, None, error.detail, f"{error.hint} {failed_logins}", error.status, error.code
                )
                self._blocked_by = error
            raise error

    def _send_login(self, call: Call, deadline: Deadline, headers: dict[str, str]) -> HttpResponse:
        try:
            return self._requester.send(deadline, call, headers)
        except errors.NoResponse as error:
            self._unknown_outcomes += error.request_sent
            raise


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """Return access token and session token from the headers of a call."""
    return [headers.get("Authorization", "").removeprefix("Bearer "), headers.get("VZ-M2M-Token", "")]


def _is_token(value: object) -> TypeGuard[str]:
    """Return whether a value can be sent in a header unchanged."""
    return isinstance(value, str) and re.fullmatch("[!-~]+", value) is not None


def _token_lifetime(expires_in: object) -> float:
    """Return the lifetime of a token in seconds; the default if `expires_in` is not a positive number."""
    try:
        lifetime = float(str(expires_in))
    except ValueError:
        return DEFAULT_TOKEN_LIFETIME_SECONDS
    return lifetime if 0 < lifetime < math.inf else DEFAULT_TOKEN_LIFETIME_SECONDS


def _describe_failed_logins(record: LoginRecord) -> str:
    return (
        f"Failed logins in a row from this machine: {record.failed_logins}. Left before the lockout at "
        f"{LOCKOUT_THRESHOLD}: {record.remaining}."
    )
