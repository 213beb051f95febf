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
from thingspace_provider.api.deadline import Patience
from thingspace_provider.api.login_guard import LOCKS_AT, Record, RefusedLogins
from thingspace_provider.api.requester import Wire
from thingspace_provider.api.transport import Answer

if TYPE_CHECKING:
    from typing import TypeGuard

JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
REFRESH_EARLY = 120.0  # seconds before its end at which a token is no longer used
DEFAULT_LIFE = 3600.0  # seconds a token lives when ThingSpace does not say
MOST_UNCLEAR = 2  # logins in a row without a clear answer: each may have been a wrong one
UNAVAILABLE = 503
OK = 200


class Authentication:
    """The access token and the session token of one ThingSpace user.

    One lock makes every fetch single-flight: whoever comes while another thread logs in waits for its
    result. A refused login is remembered, here and for later processes, and not repeated with the same
    credentials, because ThingSpace locks a user after five in a row.
    """

    def __init__(
        self, credentials: Credentials, wire: Wire, clock: Callable[[], float], refused_logins: RefusedLogins
    ) -> None:
        self._credentials = credentials
        self._wire = wire
        self._clock = clock
        self._refused_logins = refused_logins
        self._lock = threading.RLock()
        self._bearer = ""
        self._bearer_ends = 0.0
        self._session = ""
        self._ended: errors.ThingSpaceError | None = None  # after which nothing more is sent with these credentials
        self._unclear = 0  # logins in a row that ThingSpace may have judged without our hearing it
        self._is_override = False  # the next login is the one that the override allowed

    def headers(self, patience: Patience) -> dict[str, str]:
        """The headers of an m2m call, with a token and a session that are believed to be good."""
        with self._alone(patience):
            self._stop_if_ended()
            bearer = self._current_bearer(patience)
            if not self._session:
                self._session = self._login(patience)
            return self._headers(bearer, self._session)

    def forget(self, used: dict[str, str], *, bearer: bool = False, session: bool = False) -> None:
        """Drop what was refused, unless another thread has already replaced it."""
        with self._lock:
            if bearer and used["Authorization"] == f"Bearer {self._bearer}":
                self._bearer = ""
            if session and used["VZ-M2M-Token"] == self._session:
                self._session = ""

    def logout(self, patience: Patience) -> None:
        """End the session, if there is one. What goes wrong is no matter: ThingSpace ends it after 20 idle minutes."""
        with self._lock:
            session, self._session = self._session, ""
        if session:
            headers = self._headers(self._bearer, session)
            with contextlib.suppress(errors.ThingSpaceError):
                self._wire.send(patience, "logging out", None, "POST", "/m2m/v1/session/logout", headers)

    @contextlib.contextmanager
    def _alone(self, patience: Patience) -> Iterator[None]:
        """Hold the lock; whoever holds it is at most at the end of an operation of its own."""
        doing, waited = "calling ThingSpace", "the login that another resource began"
        with patience.noticed(doing, None, waited):
            held = self._lock.acquire(timeout=patience.left())
        if not held:
            raise patience.over(doing, None, f"waited for {waited}")
        try:
            yield
        finally:
            self._lock.release()

    @staticmethod
    def _headers(bearer: str, session: str) -> dict[str, str]:
        return {**JSON_HEADERS, "Authorization": f"Bearer {bearer}", "VZ-M2M-Token": session}

    def _stop_if_ended(self) -> None:
        if isinstance(self._ended, errors.Refused):
            raise errors.LoginHeld(
                "calling ThingSpace",
                answer=f"not tried, because ThingSpace refused these credentials a moment ago "
                f"({self._ended.status} {self._ended.code}".rstrip()
                + ")",
                remedy="Correct them as the first error says; it holds for every resource of this run.",
            )
        if self._ended is not None:
            raise errors.LoginHeld(
                "calling ThingSpace",
                answer="not tried, because the login of this run was answered with what is no session, and another "
                f"one may count as a wrong one, of which {LOCKS_AT} in a row lock the user",
                remedy="Do as the first error says; it holds for every resource of this run.",
            )

    def _current_bearer(self, patience: Patience) -> str:
        if not self._bearer or self._clock() >= self._bearer_ends:
            asked = self._clock()
            document = patience.repeat(lambda: self._fetch_token(patience))  # asked twice, it is the same
            token = document.get("access_token")
            if not _is_token(token):
                raise errors.AnswerNotUnderstood(
                    "getting an access token", answer="the answer holds no access_token", remedy=_ADDRESS
                )
            life = _life(document.get("expires_in"))
            # ThingSpace hands the same token out again within its hour, so little life may be left:
            # then it is used until it really ends instead of being fetched for every call.
            self._bearer_ends = asked + (life - REFRESH_EARLY if life > 2 * REFRESH_EARLY else life)
            self._bearer = token
        return self._bearer

    def _fetch_token(self, patience: Patience) -> dict[str, Any]:
        pair = f"{self._credentials.app_key}:{self._credentials.app_secret}".encode()
        doing = "getting an access token"
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": "Basic " + base64.b64encode(pair).decode(),
        }
        body = urlencode({"grant_type": "client_credentials"}).encode()
        answer = self._wire.send(patience, doing, None, "POST", "/ts/v1/oauth2/token", headers, body)
        if answer.status != OK:
            refusal = self._wire.refusal("token", doing, None, answer)
            if isinstance(refusal, errors.KeyRefused):
                self._ended = refusal
            raise refusal
        return error_responses.json_object(answer.body)

    def _login(self, patience: Patience) -> str:
        doing = f"logging in to ThingSpace as {self._credentials.username}"
        with self._refused_logins.alone(self._credentials, patience.left()) as is_alone:
            if not is_alone:
                raise patience.over(doing, None, "waited for the login that another process began")
            self._stop_if_held(doing)
            session = patience.repeat(lambda: self._try_login(doing, patience), lambda _: not self._is_unclear())
            self._unclear, self._is_override = 0, False
            self._refused_logins.forget(self._credentials)
            return session

    def _stop_if_held(self, doing: str) -> None:
        """Raise LoginHeld when one more login may be one too many."""
        if self._is_unclear():
            logins = "1 login" if self._unclear == 1 else f"{self._unclear} logins"
            raise errors.LoginHeld(
                doing,
                answer=f"not tried again in this run, because {logins} got no clear answer and each "
                f"may count as a wrong one, of which {LOCKS_AT} in a row lock the user",
                remedy="Run it again when ThingSpace answers.",
            )
        known = self._refused_logins.known(self._credentials)
        if known is None or self._is_override:
            return
        self._is_override = self._refused_logins.spend_override(self._credentials)
        if not self._is_override:
            raise errors.LoginHeld(
                doing,
                answer="not tried, because exactly this password was refused before on this machine",
                remedy=f"{_strikes(known)} Correct THINGSPACE_PASSWORD. "
                f"{self._refused_logins.one_more(self._credentials)}",
            )

    def _is_unclear(self) -> bool:
        """Whether so many logins got no clear answer that no further one is sent: an override allows one alone."""
        return self._unclear >= (1 if self._is_override else MOST_UNCLEAR)

    def _try_login(self, doing: str, patience: Patience) -> str:
        body = json.dumps({"username": self._credentials.username, "password": self._credentials.password}).encode()
        bearer_renewed = False
        while True:
            headers = {**JSON_HEADERS, "Authorization": f"Bearer {self._current_bearer(patience)}"}
            answer = self._send_login(doing, patience, headers, body)
            if answer.status // 100 == OK // 100:
                session = error_responses.json_object(answer.body).get("sessionToken")
                if _is_token(session):
                    return session
                if (
                    error_responses.fault_of(answer.body).dialect == "other"
                ):  # perhaps a good login, so nothing is recorded
                    self._ended = errors.AnswerNotUnderstood(
                        doing,
                        answer="the answer holds no sessionToken",
                        remedy=f"{_ADDRESS} It may have counted as a wrong login, so this run sends no other.",
                    )
                    raise self._ended
            error = self._wire.refusal("login", doing, None, answer, sent_secrets(headers))
            if isinstance(error, errors.BearerRefused) and not bearer_renewed:
                bearer_renewed = True  # the gateway kept it from the login, so it may be tried again
                self._bearer = ""
                continue
            if isinstance(error, errors.ServerFault) and error.status != UNAVAILABLE:
                self._unclear += 1
            if isinstance(error, errors.LoginRefused):
                strikes = _strikes(self._refused_logins.add(self._credentials))
                error = errors.LoginRefused(
                    doing, None, error.answer, f"{error.remedy} {strikes}", error.status, error.code
                )
                self._ended = error
            raise error

    def _send_login(self, doing: str, patience: Patience, headers: dict[str, str], body: bytes) -> Answer:
        try:
            return self._wire.send(patience, doing, None, "POST", "/m2m/v1/session/login", headers, body)
        except errors.Unreachable as error:
            self._unclear += error.sent
            raise


def sent_secrets(headers: Mapping[str, str]) -> list[str]:
    """Access token and session among the headers of a call."""
    return [headers.get("Authorization", "").removeprefix("Bearer "), headers.get("VZ-M2M-Token", "")]


def _is_token(value: object) -> TypeGuard[str]:
    """Whether it can be sent in a header as it is."""
    return isinstance(value, str) and re.fullmatch("[!-~]+", value) is not None


def _life(seconds: object) -> float:
    """How long a token lives, as far as the answer's `expires_in` makes sense."""
    try:
        life = float(str(seconds))
    except ValueError:
        return DEFAULT_LIFE
    return life if 0 < life < math.inf else DEFAULT_LIFE


def _strikes(record: Record) -> str:
    """How near the user is to being locked, as far as this machine knows."""
    return (
        f"Wrong logins in a row from this machine: {record.strikes}; likely left before ThingSpace locks the user "
        f"at {LOCKS_AT}: {record.left}."
    )


_ADDRESS = "Check THINGSPACE_BASE_URL: is that ThingSpace, and no proxy in its place?"
