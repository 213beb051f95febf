"""How long one operation may take: its attempts, the pauses between them, and one deadline over all of it.

An operation is what one resource asks for, as a create with its list and its registration. What went wrong for a
passing reason (no answer, 429, 5xx) is tried again where that is safe, with growing pauses and jitter, or after the
time that ThingSpace asks for. Whoever watches is told what is waited for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar, cast

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from thingspace_provider.api import errors
from thingspace_provider.api.limits import Limits

MAX_ATTEMPTS = 6  # of one call; with the pauses below some 20 seconds of a ThingSpace that answers at once
MAX_CONNECT_ATTEMPTS = 3  # where no connection comes about, which is mostly a wrong address
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 20.0  # seconds
SLOW_CALL_SECONDS = 5.0  # seconds of waiting after which it is said what for
RERUN_HINT = (
    "Run it again: what was done is kept, what is missing is done then. "
    "THINGSPACE_DEADLINE allows more seconds for one operation."
)
Result = TypeVar("Result")


class Deadline:
    """The time of one operation, from now on.

    Args:
        limits: how much of it there is.
        say: tells the person who waits one line.
        clock: monotonic seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        limits: Limits,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limits = limits
        self._log = log
        self._clock = clock
        self._sleep = sleep
        self._expires_at = clock() + limits.resource_timeout_seconds
        self._exhausted = False

    def remaining_seconds(self) -> float:
        """Seconds until the operation has to be over, 0 when it has."""
        return max(self._expires_at - self._clock(), 0.0)

    def response_timeout(self, action: str, account: str | None) -> float:
        """Seconds to wait for the next answer. Raises DeadlineExceeded when there is no time left for one."""
        remaining = self.remaining_seconds()
        if not remaining:
            raise self.exceeded(action, account, "there was no time left to send it")
        return min(self._limits.response_timeout_seconds, remaining)

    def exceeded(
        self, action: str, account: str | None, detail: str, hint: str = RERUN_HINT
    ) -> errors.DeadlineExceeded:
        """The error for an operation whose time is used up."""
        return errors.DeadlineExceeded(
            action, account, f"not done within {self._limits.resource_timeout_seconds:g} s: {detail}", hint
        )

    def sleep(self, seconds: float, action: str, account: str | None, reason: str, hint: str) -> None:
        """Sleep so long and, when it is long, say why. Raises DeadlineExceeded at once when there is less time left."""
        if seconds >= self.remaining_seconds():
            raise self.exceeded(action, account, reason, hint)
        if seconds >= SLOW_CALL_SECONDS:
            self._report(f"{_format_subject(action, account)}: {reason}; waiting {seconds:.0f} s")
        if seconds > 0:
            self._sleep(seconds)

    @contextlib.contextmanager
    def log_if_slow(self, action: str, account: str | None, waiting_for: str) -> Iterator[None]:
        """Say what is waited for, should the block take longer than a moment."""
        if self._log is None:
            yield
            return
        message = (
            f"{_format_subject(action, account)}: still waiting for {waiting_for}, "
            f"{self.remaining_seconds():.0f} s at most"
        )
        timer = threading.Timer(SLOW_CALL_SECONDS, self._report, [message])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def retry_transient(
        self, attempt: Callable[[], Result], may_retry: Callable[[errors.ThingSpaceError], bool] = lambda _: True
    ) -> Result:
        """The attempt's result, from as many attempts as it takes, is safe, and there is time for.

        Args:
            attempt: does it once, or raises a ThingSpaceError.
            may_retry: asked after a passing failure: does another attempt do no harm? Without it, none does.
        """

        def should_retry(error: BaseException) -> bool:
            if not isinstance(error, errors.ThingSpaceError) or not is_transient(error):
                return False
            # Calls stand within calls, as a login within whatever needs it: given up once, given up for all.
            self._exhausted = self._exhausted or not may_retry(error)
            return not self._exhausted

        return Retrying(
            retry=retry_if_exception(should_retry),
            wait=_backoff_seconds,
            stop=self._should_stop,
            sleep=self._sleep,
            before_sleep=self._log_retry,
            retry_error_callback=self._raise_last_error,
        )(attempt)

    def _should_stop(self, state: RetryCallState) -> bool:
        error = _last_error(state)
        max_attempts = (
            MAX_CONNECT_ATTEMPTS if isinstance(error, errors.NoResponse) and not error.request_sent else MAX_ATTEMPTS
        )
        return state.attempt_number >= max_attempts or state.upcoming_sleep >= self.remaining_seconds()

    def _raise_last_error(self, state: RetryCallState) -> NoReturn:
        """Raise the last attempt's error, with how often it was tried."""
        self._exhausted = True
        error = _last_error(state)
        if state.attempt_number == 1:
            raise error
        elapsed = state.seconds_since_start or 0.0
        raise error.with_detail(f"{error.detail}, after {state.attempt_number} attempts in {elapsed:.0f} s") from error

    def _log_retry(self, state: RetryCallState) -> None:
        error = _last_error(state)
        self._report(
            f"{_format_subject(error.action, error.account)}: {error.detail}; "
            f"trying again in {state.upcoming_sleep:.1f} s (attempt {state.attempt_number + 1}, {self.remaining_seconds():.0f} s left)"  # noqa: E501
        )

    def _report(self, message: str) -> None:
        if self._log is not None:
            self._log(message)


def is_transient(error: errors.ThingSpaceError) -> bool:
    """Whether a failure may be over in a moment."""
    if isinstance(error, errors.NoResponse):
        return error.is_transient
    return isinstance(error, errors.RateLimited | errors.ServerError)


_BACKOFF = wait_exponential(INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS) + wait_random(0, INITIAL_BACKOFF_SECONDS)


def _backoff_seconds(state: RetryCallState) -> float:
    """Seconds to the next attempt: what ThingSpace asked for, and never less than our own back-off."""
    error = _last_error(state)
    retry_after = error.retry_after if isinstance(error, errors.ErrorResponse) else 0.0
    return max(retry_after, _BACKOFF(state))


def _last_error(state: RetryCallState) -> errors.ThingSpaceError:
    """What the last attempt ended in; only such errors are tried again."""
    return cast("errors.ThingSpaceError", state.outcome and state.outcome.exception())


def _format_subject(action: str, account: str | None) -> str:
    return f"account {account}: {action}" if account else action
