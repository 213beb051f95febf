"""Retries of transient errors, with exponential backoff, within the deadline of a resource operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, cast

from tenacity import RetryCallState, Retrying, retry_if_exception

from thingspace_provider.api import errors
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.common.backoff import exponential_backoff

MAX_ATTEMPTS = 6
MAX_CONNECT_ATTEMPTS = 3  # without a connection, because the usual cause is a wrong base URL
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 20.0


def attempts(deadline: Deadline, may_retry: Callable[[errors.ThingSpaceError], bool] = lambda _: True) -> Retrying:
    """Return the attempts of a call, for `for attempt in ...: with attempt: ...`. The first success ends the loop.

    The loop raises the error of the last attempt: a permanent error at once, a transient one when the attempts or the
    time are used up.

    Args:
        deadline: limits the time, and reports every retry.
        may_retry: returns whether another attempt is safe after a transient error. After a False, no call of the
            resource operation is retried.
    """

    def should_retry(error: BaseException) -> bool:
        if not isinstance(error, errors.ThingSpaceError) or not is_transient(error):
            return False
        deadline.retries_exhausted = deadline.retries_exhausted or not may_retry(error)
        return not deadline.retries_exhausted

    def should_stop(state: RetryCallState) -> bool:
        return (
            state.attempt_number >= _max_attempts(_last_error(state))
            or state.upcoming_sleep >= deadline.remaining_seconds()
        )

    def log_retry(state: RetryCallState) -> None:
        error = _last_error(state)
        progress = f"attempt {state.attempt_number + 1} of {_max_attempts(error)}"
        deadline.report(
            error.action,
            error.account,
            f"{error.detail}; retrying in {state.upcoming_sleep:.1f} s "
            f"({progress}, {deadline.remaining_seconds():.0f} s left)",
        )

    def raise_last_error(state: RetryCallState) -> NoReturn:
        deadline.retries_exhausted = True
        error = _last_error(state)
        if state.attempt_number == 1:
            raise error
        seconds = state.seconds_since_start or 0.0
        raise error.with_detail(f"{error.detail}, after {state.attempt_number} attempts in {seconds:.0f} s") from error

    return Retrying(
        retry=retry_if_exception(should_retry),
        wait=_backoff_seconds,
        stop=should_stop,
        sleep=deadline.pause,
        before_sleep=log_retry,
        retry_error_callback=raise_last_error,
    )


def is_transient(error: errors.ThingSpaceError) -> bool:
    """Return whether another attempt can succeed: after no response, a 429 or a 5xx."""
    if isinstance(error, errors.NoResponse):
        return error.is_transient
    return isinstance(error, errors.RateLimited | errors.ServerError)


def _max_attempts(error: errors.ThingSpaceError) -> int:
    return MAX_CONNECT_ATTEMPTS if isinstance(error, errors.NoResponse) and not error.request_sent else MAX_ATTEMPTS


def _backoff_seconds(state: RetryCallState) -> float:
    """Return the longer of the backoff and the `Retry-After` of ThingSpace."""
    error = _last_error(state)
    retry_after = error.retry_after if isinstance(error, errors.ErrorResponse) else 0.0
    return max(retry_after, exponential_backoff(state.attempt_number - 1, INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS))


def _last_error(state: RetryCallState) -> errors.ThingSpaceError:
    """Return the error of the last attempt; tenacity calls back only after one that `should_retry` accepted."""
    return cast("errors.ThingSpaceError", state.outcome and state.outcome.exception())
