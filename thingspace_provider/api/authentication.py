"""OAuth tokens and sessions: fetched once however many threads ask, and never with refused credentials twice."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from thingspace_provider.api import answers, errors
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.refused_logins import LOCKS_AT, OVERRIDE, Record, RefusedLogins
from thingspace_provider.api.transport import Answer, NoAnswer, Transport

JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
REFRESH_EARLY = 120.0  # seconds before its end at which a token is no longer used
DEFAULT_LIFE = 3600.0  # seconds a token lives when ThingSpace does not say
OK = 200


class Authentication:
    """The access token and the session token of one ThingSpace user.

    One lock makes every fetch single-flight: whoever comes while another thread logs in waits for its
    result. A refused login is remembered, here and for later processes, and not repeated with the same
    credentials, because ThingSpace locks a user after five in a row.
    """

    def __init__(
        self,
        credentials: Credentials,
        transport: Transport,
        seconds: float,
        clock: Callable[[], float],
        refused_logins: RefusedLogins,
    ) -> None:
        self._credentials = credentials
        self._transport = transport
        self._seconds = seconds
        self._clock = clock
        self._refused_logins = refused_logins
        self._lock = threading.RLock()
        self._bearer = ""
        self._bearer_ends = 0.0
        self._session = ""
        self._refused: errors.Refused | None = None

    def headers(self) -> dict[str, str]:
        """The headers of an m2m call, with a token and a session that are believed to be good."""
        with self._lock:
            self._stop_if_refused()
            bearer = self._current_bearer()
            if not self._session:
                self._session = self._login()
            return {**JSON_HEADERS, "Authorization": f"Bearer {bearer}", "VZ-M2M-Token": self._session}

    def forget(self, used: dict[str, str], *, bearer: bool = False, session: bool = False) -> None:
        """Drop what was refused, unless another thread has already replaced it."""
        with self._lock:
            if bearer and used["Authorization"] == f"Bearer {self._bearer}":
                self._bearer = ""
            if session and used["VZ-M2M-Token"] == self._session:
                self._session = ""

    def _stop_if_refused(self) -> None:
        if self._refused is not None:
            raise errors.LoginHeld(
                "calling ThingSpace",
                answer=f"not tried, because ThingSpace refused these credentials a moment ago "
                f"({self._refused.status} {self._refused.code}".rstrip()
                + ")",
                remedy="Correct them as the first error says; it holds for every resource of this run.",
            )

    def _current_bearer(self) -> str:
        if not self._bearer or self._clock() >= self._bearer_ends:
            asked = self._clock()
            document = self._fetch_token()
            token = document.get("access_token")
            if not isinstance(token, str) or not token:
                raise errors.AnswerNotUnderstood(
                    "getting an access token", answer="the answer holds no access_token", remedy=_ADDRESS
                )
            try:
                life = float(document.get("expires_in", DEFAULT_LIFE))
            except (TypeError, ValueError):
                life = DEFAULT_LIFE
            # ThingSpace hands the same token out again within its hour, so little life may be left:
            # then it is used until it really ends instead of being fetched for every call.
            self._bearer_ends = asked + (life - REFRESH_EARLY if life > 2 * REFRESH_EARLY else life)
            self._bearer = token
        return self._bearer

    def _fetch_token(self) -> dict[str, Any]:
        pair = f"{self._credentials.app_key}:{self._credentials.app_secret}".encode()
        answer = self._send(
            "getting an access token",
            "/ts/v1/oauth2/token",
            {
                "Accept": "application/json",
                "Content-Type": "application/x-www-form-urlencoded",
                "Authorization": "Basic " + base64.b64encode(pair).decode(),
            },
            urlencode({"grant_type": "client_credentials"}).encode(),
        )
        if answer.status != OK:
            raise self._remembered(
                answers.refusal("token", "getting an access token", None, answer.status, answer.body)
            )
        return answers.json_object(answer.body)

    def _login(self) -> str:
        with self._refused_logins.alone(self._credentials):
            known = self._refused_logins.known(self._credentials)
            if known is not None:
                raise errors.LoginHeld(
                    f"logging in to ThingSpace as {self._credentials.username}",
                    answer="not tried, because exactly this password was refused before on this machine",
                    remedy=f"{_strikes(known)} Correct THINGSPACE_PASSWORD. If the user was unlocked and the password "
                    f"is right, allow one more try with {OVERRIDE}=1.",
                )
            return self._try_login()

    def _try_login(self) -> str:
        doing = f"logging in to ThingSpace as {self._credentials.username}"
        body = json.dumps({"username": self._credentials.username, "password": self._credentials.password}).encode()
        bearer_renewed = False
        while True:
            headers = {**JSON_HEADERS, "Authorization": f"Bearer {self._current_bearer()}"}
            answer = self._send(doing, "/m2m/v1/session/login", headers, body)
            if answer.status == OK:
                self._refused_logins.forget(self._credentials)
                session = answers.json_object(answer.body).get("sessionToken")
                if isinstance(session, str) and session:
                    return session
                raise errors.AnswerNotUnderstood(doing, answer="the answer holds no sessionToken", remedy=_ADDRESS)
            error = answers.refusal("login", doing, None, answer.status, answer.body)
            if isinstance(error, errors.BearerRefused) and not bearer_renewed:
                bearer_renewed = True  # the gateway kept it from the login, so it may be tried again
                self._bearer = ""
                continue
            if isinstance(error, errors.LoginRefused):
                strikes = _strikes(self._refused_logins.add(self._credentials))
                error = errors.LoginRefused(
                    doing, None, error.answer, f"{error.remedy} {strikes}", error.status, error.code
                )
            raise self._remembered(error)

    def _remembered(self, error: errors.Refused) -> errors.Refused:
        """Keep a refusal of the credentials themselves, so that nobody repeats it."""
        if isinstance(error, errors.KeyRefused | errors.LoginRefused):
            self._refused = error
        return error

    def _send(self, doing: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        url = self._credentials.base_url.rstrip("/") + path
        try:
            return self._transport.send("POST", url, headers, body, self._seconds)
        except NoAnswer as error:
            raise unreachable(doing, None, self._credentials, error) from None


def _strikes(record: Record) -> str:
    """How near the user is to being locked, as far as this machine knows."""
    return (
        f"Wrong logins in a row from this machine: {record.strikes}; likely left before ThingSpace locks the user "
        f"at {LOCKS_AT}: {record.left}."
    )


_ADDRESS = "Check THINGSPACE_BASE_URL: is that ThingSpace, and no proxy in its place?"


def unreachable(doing: str, account: str | None, credentials: Credentials, error: NoAnswer) -> errors.Unreachable:
    """The error for a call to ThingSpace that got no answer."""
    return errors.Unreachable(
        doing,
        account,
        f"no answer from {credentials.base_url} ({error})",
        "Check the network and THINGSPACE_BASE_URL (stack config thingspace:baseUrl), then run it again: "
        "what was done is kept, what is missing is done then.",
    )
