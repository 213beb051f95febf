"""Sends single requests to ThingSpace: at one pace for all threads, within an operation's time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from thingspace_provider.api import answers, errors
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.patience import Patience
from thingspace_provider.api.transport import Answer, NoAnswer, Transport

LONGEST_RETRY_AFTER = 24 * 3600.0  # seconds; beyond that a clock is wrong


class Pace:
    """At most so many calls a second, a second's worth of them at once; and none while ThingSpace asks for quiet."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._step = 1.0 / rate
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock() - 1.0

    def delay(self) -> float:
        """Take the next turn, and the seconds until it."""
        with self._lock:
            now = self._clock()
            self._last = max(self._last, now - 1.0) + self._step
            return max(self._last - now, 0.0)

    def hold(self, seconds: float) -> None:
        """Give no turn for so long."""
        with self._lock:
            self._last = max(self._last, self._clock() + seconds)


class Wire:
    """One ThingSpace, for all threads of a client."""

    def __init__(self, credentials: Credentials, transport: Transport, pace: Pace) -> None:
        self._credentials = credentials
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
        patience.wait(self._pace.delay(), doing, account, "ThingSpace gets no more calls at once than it is to")
        seconds = patience.for_answer(doing, account)
        url = self._credentials.base_url.rstrip("/") + path
        try:
            with patience.noticed(doing, account, "ThingSpace's answer"):
                answer = self._transport.send(method, url, headers, body, seconds)
        except NoAnswer as error:
            raise self._unreachable(doing, account, error) from None
        if answer.status == answers.RATE_LIMITED:
            self._pace.hold(retry_after(answer))  # asked of one, meant for all
        return answer

    def refusal(self, operation: str, doing: str, account: str | None, answer: Answer) -> errors.Refused:
        """The error that an answer means, and how long ThingSpace asks to wait."""
        return answers.refusal(operation, doing, account, answer.status, answer.body, retry_after(answer))

    def _unreachable(self, doing: str, account: str | None, error: NoAnswer) -> errors.Unreachable:
        return errors.Unreachable(
            doing,
            account,
            f"no answer from {self._credentials.base_url} ({error})",
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
