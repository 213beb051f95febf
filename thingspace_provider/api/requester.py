"""Sends single requests to ThingSpace: at one pace for all threads, within an operation's time."""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime

from thingspace_provider.api import error_responses, errors
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Patience
from thingspace_provider.api.transport import Answer, NoAnswer, Transport
from thingspace_provider.common.redaction import Secrets
from thingspace_provider.common.urls import secrets_in, without_user

LONGEST_RETRY_AFTER = 24 * 3600.0  # seconds; beyond that a clock is wrong


class Pace:
    """At most so many calls a second, a second's worth of them at once; and none while ThingSpace asks for quiet."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._step = 1.0 / rate
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock() - 1.0
        self._quiet = clock()

    def delay(self, most: float = math.inf) -> float:
        """The seconds until the next turn, which is taken, unless there are not so many: it is left to others then."""
        with self._lock:
            now = self._clock()
            turn = max(self._last, now - 1.0) + self._step
            delay = max(turn - now, 0.0)
            if delay < most:
                self._last = turn
            return delay

    def hold(self, seconds: float) -> None:
        """Give no turn for so long."""
        with self._lock:
            self._quiet = max(self._quiet, self._clock() + seconds)
            self._last = max(self._last, self._quiet)

    def held(self) -> float:
        """Seconds that are left of what `hold` asked for."""
        with self._lock:
            return max(self._quiet - self._clock(), 0.0)


class Wire:
    """One ThingSpace, for all threads of a client."""

    def __init__(self, credentials: Credentials, transport: Transport, pace: Pace) -> None:
        self._base_url = credentials.base_url
        pair = f"{credentials.app_key}:{credentials.app_secret}"
        self._secrets = (
            *(credentials.app_key, credentials.app_secret, credentials.password),
            base64.b64encode(pair.encode()).decode(),
            *secrets_in(credentials.base_url),
        )
        self._transport = transport
        self._pace = pace

    def send(
        self,
        patience: Patience,
        doing: str,
        account: str | None,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> Answer:
        """Wait for a turn, send it once, and read the answer. Raises Unreachable or TookTooLong."""
        self._wait_for_turn(patience, doing, account)
        seconds = patience.for_answer(doing, account)
        url = self._base_url.rstrip("/") + path
        try:
            with patience.noticed(doing, account, "ThingSpace's answer"):
                answer = self._transport.send(method, url, headers, body, seconds)
        except NoAnswer as error:
            raise self._unreachable(doing, account, error) from None
        if answer.status == error_responses.RATE_LIMITED:
            self._pace.hold(retry_after(answer))  # asked of one, meant for all
        return answer

    def refusal(
        self, operation: str, doing: str, account: str | None, answer: Answer, secrets: Iterable[object] = ()
    ) -> errors.Refused:
        """The error that an answer means, without the secrets that it repeats: the credentials, and these."""
        hidden = Secrets((*self._secrets, *secrets))
        return error_responses.refusal(
            operation, doing, account, answer.status, answer.body, retry_after(answer), hidden
        )

    def _wait_for_turn(self, patience: Patience, doing: str, account: str | None) -> None:
        """Wait as the pace asks, or raise TookTooLong when that is longer than there is time."""
        delay, quiet = self._pace.delay(patience.left()), self._pace.held()
        if quiet > delay / 2:
            why = f"ThingSpace asked for a pause (Retry-After), of which {quiet:.0f} s are left"
            remedy = "Run it again after these: what was done is kept, what is missing is done then."
        else:
            why = f"all calls together are kept to {self._pace.rate:g} a second"
            remedy = (
                "Run it again: what was done is kept, what is missing is done then. THINGSPACE_CALLS_PER_SECOND allows "
                "more calls, THINGSPACE_DEADLINE more seconds for one operation."
            )
        patience.wait(delay, doing, account, why, remedy)

    def _unreachable(self, doing: str, account: str | None, error: NoAnswer) -> errors.Unreachable:
        return errors.Unreachable(
            doing,
            account,
            f"no answer from {without_user(self._base_url)} ({error})",
            "Check the network and THINGSPACE_BASE_URL (stack config thingspace:baseUrl), then run it again: "
            "what was done is kept, what is missing is done then.",
            error.sent,
            error.passing,
        )


def retry_after(answer: Answer) -> float:
    """Seconds that the answer's Retry-After asks to wait, in either of its two forms; 0 without one."""
    asked = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(asked) if asked.isdigit() else parsedate_to_datetime(asked).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
