"""OAuth tokens and sessions: fetched once however many threads ask, and never with refused credentials twice."""

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
from thingspace_provider.api.requester import ApiRequester
from thingspace_provider.api.transport import HttpResponse

if TYPE_CHECKING:
    from typing import TypeGuard

JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
TOKEN_REFRESH_MARGIN_SECONDS = 120.0  # seconds before its end at which a token is no longer used
DEFAULT_TOKEN_LIFETIME_SECONDS = 3600.0  # seconds a token lives when ThingSpace does not say
MAX_UNKNOWN_OUTCOMES = 2  # logins in a row without a clear answer: each may have been a wrong one
UNAVAILABLE = 503
OK = 200


class Authentication:
    """The access token and the session token of one ThingSpace user.

    One lock makes every fetch single-flight: whoever comes while another thread logs in waits for its
    result. A refused login is remembered, here and for later processes, and not repeated with the same
    credentials, because ThingSpace locks a user after five in a row.
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
        self._blocked_by: errors.ThingSpaceError | None = (
            None  # after which nothing more is sent with these credentials
        )
        self._unknown_outcomes = 0  # logins in a row that ThingSpace may have judged without our hearing it
        self._is_override = False  # the next login is the one that the override allowed

    def headers(self, deadline: Deadline) -> dict[str, str]:
        """The headers of an m2m call, with a token and a session that are believed to be good."""
        with self._locked(deadline):
            self._raise_if_blocked()
            token = self._access_token(deadline)
            if not self._session:
                self._session = self._login(deadline)
            return self._build_headers(token, self._session)

    def invalidate(self, sent_headers: dict[str, str], *, access_token: bool = False, session: bool = False) -> None:
        """Drop what was refused, unless another thread has already replaced it."""
        with self._lock:
            if access_token and sent_headers["Authorization"] == f"Bearer {self._token}":
                self._token = ""
            if session and sent_headers["VZ-M2M-Token"] == self._session:
                self._session = ""

    def logout(self, deadline: Deadline) -> None:
        """End the session, if there is one. What goes wrong is no matter: ThingSpace ends it after 20 idle minutes."""
        with self._lock:
            session, self._session = self._session, ""
        if session:
            headers = self._build_headers(self._token, session)
            with contextlib.suppress(errors.ThingSpaceError):
                self._requester.send(deadline, "logging out", None, "POST", "/m2m/v1/session/logout", headers)

    @contextlib.contextmanager
    def _locked(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock; whoever holds it is at most at the end of an operation of its own."""
        action, waiting_for = "calling ThingSpace", "the login that another resource began"
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
            raise errors.LoginBlocked(
                "calling ThingSpace",
                detail=f"not tried, because ThingSpace refused these credentials a moment ago "
                f"({self._blocked_by.status} {self._blocked_by.code}".rstrip()
                + ")",
                hint="Correct them as the first error says; it holds for every resource of this run.",
            )
        if self._blocked_by is not None:
            raise errors.LoginBlocked(
                "calling ThingSpace",
                detail="not tried, because the login of this run was answered with what is no session, and another "
                f"one may count as a wrong one, of which {LOCKOUT_THRESHOLD} in a row lock the user",
                hint="Do as the first error says; it holds for every resource of this run.",
            )

    def _access_token(self, deadline: Deadline) -> str:
        if not self._token or self._clock() >= self._token_expires_at:
            requested_at = self._clock()
            document = deadline.retry_transient(lambda: self._fetch_token(deadline))  # asked twice, it is the same
            token = document.get("access_token")
            if not _is_token(token):
                raise errors.UnexpectedResponse(
                    "getting an access token", detail="the answer holds no access_token", hint=_BASE_URL_HINT
                )
            lifetime = _token_lifetime(document.get("expires_in"))
            # ThingSpace hands the same token out again within its hour, so little life may be left:
            # then it is used until it really ends instead of being fetched for every call.
            self._token_expires_at = requested_at + (
                lifetime - TOKEN_REFRESH_MARGIN_SECONDS if lifetime > 2 * TOKEN_REFRESH_MARGIN_SECONDS else lifetime
            )
            self._token = token
        return self._token

    def _fetch_token(self, deadline: Deadline) -> dict[str, Any]:
        pair = f"{self._credentials.app_key}:{self._credentials.app_secret}".encode()
        action = "getting an access token"
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": "Basic " + base64.b64encode(pair).decode(),
        }
        body = urlencode({"grant_type": "client_credentials"}).encode()
        response = self._requester.send(deadline, action, None, "POST", "/ts/v1/oauth2/token", headers, body)
        if response.status != OK:
            error = self._requester.error_from_response("token", action, None, response)
            if isinstance(error, errors.ApplicationKeyRejected):
                self._blocked_by = error
            raise error
        return error_responses.parse_json_object(response.body)

    def _login(self, deadline: Deadline) -> str:
        action = f"logging in to ThingSpace as {self._credentials.username}"
        with self._login_guard.lock(self._credentials, deadline.remaining_seconds()) as acquired:
            if not acquired:
                raise deadline.exceeded(action, None, "waited for the login that another process began")
            self._check_login_guard(action)
            session = deadline.retry_transient(
                lambda: self._try_login(action, deadline), lambda _: not self._has_too_many_unknown_outcomes()
            )
            self._unknown_outcomes, self._is_override = 0, False
            self._login_guard.clear(self._credentials)
            return session

    def _check_login_guard(self, action: str) -> None:
        """Raise LoginBlocked when one more login may be one too many."""
        if self._has_too_many_unknown_outcomes():
            logins = "1 login" if self._unknown_outcomes == 1 else f"{self._unknown_outcomes} logins"
            raise errors.LoginBlocked(
                action,
                detail=f"not tried again in this run, because {logins} got no clear answer and each "
                f"may count as a wrong one, of which {LOCKOUT_THRESHOLD} in a row lock the user",
                hint="Run it again when ThingSpace answers.",
            )
        record = self._login_guard.find_rejected(self._credentials)
        if record is None or self._is_override:
            return
        self._is_override = self._login_guard.use_override(self._credentials)
        if not self._is_override:
            raise errors.LoginBlocked(
                action,
                detail="not tried, because exactly this password was refused before on this machine",
                hint=f"{_describe_failed_logins(record)} Correct THINGSPACE_PASSWORD. "
                f"{self._login_guard.override_hint(self._credentials)}",
            )

    def _has_too_many_unknown_outcomes(self) -> bool:
        """Whether so many logins got no clear answer that no further one is sent: an override allows one alone."""
        return self._unknown_outcomes >= (1 if self._is_override else MAX_UNKNOWN_OUTCOMES)

    def _try_login(self, action: str, deadline: Deadline) -> str:
        body = json.dumps({"username": self._credentials.username, "password": self._credentials.password}).encode()
        token_renewed = False
        while True:
            headers = {**JSON_HEADERS, "Authorization": f"Bearer {self._access_token(deadline)}"}
            response = self._send_login(action, deadline, headers, body)
            if response.status // 100 == OK // 100:
                session = error_responses.parse_json_object(response.body).get("sessionToken")
                if _is_token(session):
                    return session
                if (
                    error_responses.parse_error_body(response.body).format == "other"
                ):  # perhaps a good login, so nothing is recorded
                    self._blocked_by = errors.UnexpectedResponse(
                        action,
                        detail="the answer holds no sessionToken",
                        hint=f"{_BASE_URL_HINT} It may have counted as a wrong login, so this run sends no other.",
                    )
                    raise self._blocked_by
            error = self._requester.error_from_response("login", action, None, response, header_secrets(headers))
            if isinstance(error, errors.AccessTokenRejected) and not token_renewed:
                token_renewed = True  # the gateway kept it from the login, so it may be tried again
                self._token = ""
                continue
            if isinstance(error, errors.ServerError) and error.status != UNAVAILABLE:
                self._unknown_outcomes += 1
            if isinstance(error, errors.LoginRejected):
                failed_logins = _describe_failed_logins(self._login_guard.record_failure(self._credentials))
                error = errors.LoginRejected(
                    action, None, error.detail, f"{error.hint} {failed_logins}", error.status, error.code
                )
                self._blocked_by = error
            raise error

    def _send_login(self, action: str, deadline: Deadline, headers: dict[str, str], body: bytes) -> HttpResponse:
        try:
            return self._requester.send(deadline, action, None, "POST", "/m2m/v1/session/login", headers, body)
        except errors.NoResponse as error:
            self._unknown_outcomes += error.request_sent
            raise


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """Access token and session among the headers of a call."""
    return [headers.get("Authorization", "").removeprefix("Bearer "), headers.get("VZ-M2M-Token", "")]


def _is_token(value: object) -> TypeGuard[str]:
    """Whether it can be sent in a header as it is."""
    return isinstance(value, str) and re.fullmatch("[!-~]+", value) is not None


def _token_lifetime(seconds: object) -> float:
    """How long a token lives, as far as the answer's `expires_in` makes sense."""
    try:
        lifetime = float(str(seconds))
    except ValueError:
        return DEFAULT_TOKEN_LIFETIME_SECONDS
    return lifetime if 0 < lifetime < math.inf else DEFAULT_TOKEN_LIFETIME_SECONDS


def _describe_failed_logins(record: LoginRecord) -> str:
    """How near the user is to being locked, as far as this machine knows."""
    return (
        f"Failed logins in a row from this machine: {record.failed_logins}; left before ThingSpace locks the user "
        f"at {LOCKOUT_THRESHOLD}: {record.remaining}."
    )


_BASE_URL_HINT = "Check THINGSPACE_BASE_URL: is that ThingSpace, and no proxy in its place?"
