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
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.api.transport import HttpResponse, Transport, TransportError
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.common.urls import strip_userinfo, url_secrets

MAX_RETRY_AFTER_SECONDS = 24 * 3600.0  # seconds; beyond that a clock is wrong


class RateLimiter:
    """At most so many calls a second, a second's worth of them at once; and none while ThingSpace asks for quiet."""

    def __init__(self, calls_per_second: float, clock: Callable[[], float]) -> None:
        self.calls_per_second = calls_per_second
        self._interval = 1.0 / calls_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._last_slot = clock() - 1.0
        self._paused_until = clock()

    def reserve(self, max_delay_seconds: float = math.inf) -> float:
        """The seconds until the next turn, which is taken, unless there are not so many: it is left to others then."""
        with self._lock:
            now = self._clock()
            slot = max(self._last_slot, now - 1.0) + self._interval
            delay = max(slot - now, 0.0)
            if delay < max_delay_seconds:
                self._last_slot = slot
            return delay

    def pause(self, seconds: float) -> None:
        """Give no turn for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
            self._last_slot = max(self._last_slot, self._paused_until)

    def pause_remaining(self) -> float:
        """Seconds that are left of what `hold` asked for."""
        with self._lock:
            return max(self._paused_until - self._clock(), 0.0)


class ApiRequester:
    """One ThingSpace, for all threads of a client."""

    def __init__(self, credentials: Credentials, transport: Transport, rate_limiter: RateLimiter) -> None:
        self._base_url = credentials.base_url
        pair = f"{credentials.app_key}:{credentials.app_secret}"
        self._secrets = (
            *(credentials.app_key, credentials.app_secret, credentials.password),
            base64.b64encode(pair.encode()).decode(),
            *url_secrets(credentials.base_url),
        )
        self._transport = transport
        self._rate_limiter = rate_limiter

    def send(
        self,
        deadline: Deadline,
        action: str,
        account: str | None,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> HttpResponse:
        """Wait for a turn, send it once, and read the answer. Raises Unreachable or DeadlineExceeded."""
        self._wait_for_rate_limit(deadline, action, account)
        seconds = deadline.response_timeout(action, account)
        url = self._base_url.rstrip("/") + path
        try:
            with deadline.log_if_slow(action, account, "ThingSpace's answer"):
                response = self._transport.send(method, url, headers, body, seconds)
        except TransportError as error:
            raise self._no_response(action, account, error) from None
        if response.status == error_responses.RATE_LIMITED:
            self._rate_limiter.pause(parse_retry_after(response))  # asked of one, meant for all
        return response

    def error_from_response(
        self, operation: str, action: str, account: str | None, response: HttpResponse, secrets: Iterable[object] = ()
    ) -> errors.ErrorResponse:
        """The error that an answer means, without the secrets that it repeats: the credentials, and these."""
        redactor = Redactor((*self._secrets, *secrets))
        return error_responses.error_from_response(
            operation, action, account, response.status, response.body, parse_retry_after(response), redactor
        )

    def _wait_for_rate_limit(self, deadline: Deadline, action: str, account: str | None) -> None:
        """Wait as the pace asks, or raise DeadlineExceeded when that is longer than there is time."""
        delay, paused_seconds = (
            self._rate_limiter.reserve(deadline.remaining_seconds()),
            self._rate_limiter.pause_remaining(),
        )
        if paused_seconds > delay / 2:
            reason = f"ThingSpace asked for a pause (Retry-After), of which {paused_seconds:.0f} s are left"
            hint = "Run it again after these: what was done is kept, what is missing is done then."
        else:
            reason = f"all calls together are kept to {self._rate_limiter.calls_per_second:g} a second"
            hint = (
                "Run it again: what was done is kept, what is missing is done then. THINGSPACE_CALLS_PER_SECOND allows "
                "more calls, THINGSPACE_DEADLINE more seconds for one operation."
            )
        deadline.sleep(delay, action, account, reason, hint)

    def _no_response(self, action: str, account: str | None, error: TransportError) -> errors.NoResponse:
        return errors.NoResponse(
            action,
            account,
            f"no answer from {strip_userinfo(self._base_url)} ({error})",
            "Check the network and THINGSPACE_BASE_URL (stack config thingspace:baseUrl), then run it again: "
            "what was done is kept, what is missing is done then.",
            error.request_sent,
            error.is_transient,
        )


def parse_retry_after(response: HttpResponse) -> float:
    """Seconds that the answer's Retry-After asks to wait, in either of its two forms; 0 without one."""
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
