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

ATTEMPTS = 6  # of one call; with the pauses below some 20 seconds of a ThingSpace that answers at once
UNSENT_ATTEMPTS = 3  # where no connection comes about, which is mostly a wrong address
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0  # seconds
SILENCE = 5.0  # seconds of waiting after which it is said what for
MORE_SECONDS = (
    "Run it again: what was done is kept, what is missing is done then. "
    "THINGSPACE_DEADLINE allows more seconds for one operation."
)
Result = TypeVar("Result")


class Patience:
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
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limits = limits
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + limits.deadline
        self._given_up = False

    def left(self) -> float:
        """Seconds until the operation has to be over, 0 when it has."""
        return max(self._end - self._clock(), 0.0)

    def for_answer(self, doing: str, account: str | None) -> float:
        """Seconds to wait for the next answer. Raises TookTooLong when there is no time left for one."""
        left = self.left()
        if not left:
            raise self.over(doing, account, "there was no time left to send it")
        return min(self._limits.answer, left)

    def over(self, doing: str, account: str | None, waited: str, remedy: str = MORE_SECONDS) -> errors.TookTooLong:
        """The error for an operation whose time is used up."""
        return errors.TookTooLong(doing, account, f"not done within {self._limits.deadline:g} s: {waited}", remedy)

    def wait(self, seconds: float, doing: str, account: str | None, why: str, remedy: str) -> None:
        """Sleep so long and, when it is long, say why. Raises TookTooLong at once when there is less time left."""
        if seconds >= self.left():
            raise self.over(doing, account, why, remedy)
        if seconds >= SILENCE:
            self._tell(f"{_named(doing, account)}: {why}; waiting {seconds:.0f} s")
        if seconds > 0:
            self._sleep(seconds)

    @contextlib.contextmanager
    def noticed(self, doing: str, account: str | None, waiting_for: str) -> Iterator[None]:
        """Say what is waited for, should the block take longer than a moment."""
        if self._say is None:
            yield
            return
        text = f"{_named(doing, account)}: still waiting for {waiting_for}, {self.left():.0f} s at most"
        timer = threading.Timer(SILENCE, self._tell, [text])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def repeat(
        self, attempt: Callable[[], Result], may_repeat: Callable[[errors.ThingSpaceError], bool] = lambda _: True
    ) -> Result:
        """The attempt's result, from as many attempts as it takes, is safe, and there is time for.

        Args:
            attempt: does it once, or raises a ThingSpaceError.
            may_repeat: asked after a passing failure: does another attempt do no harm? Without it, none does.
        """

        def again(error: BaseException) -> bool:
            if not isinstance(error, errors.ThingSpaceError) or not is_passing(error):
                return False
            # Calls stand within calls, as a login within whatever needs it: given up once, given up for all.
            self._given_up = self._given_up or not may_repeat(error)
            return not self._given_up

        return Retrying(
            retry=retry_if_exception(again),
            wait=_pause,
            stop=self._is_enough,
            sleep=self._sleep,
            before_sleep=self._announce,
            retry_error_callback=self._give_up,
        )(attempt)

    def _is_enough(self, state: RetryCallState) -> bool:
        error = _error(state)
        most = UNSENT_ATTEMPTS if isinstance(error, errors.Unreachable) and not error.sent else ATTEMPTS
        return state.attempt_number >= most or state.upcoming_sleep >= self.left()

    def _give_up(self, state: RetryCallState) -> NoReturn:
        """Raise the last attempt's error, with how often it was tried."""
        self._given_up = True
        error = _error(state)
        if state.attempt_number == 1:
            raise error
        waited = state.seconds_since_start or 0.0
        raise error.with_answer(f"{error.answer}, after {state.attempt_number} attempts in {waited:.0f} s") from error

    def _announce(self, state: RetryCallState) -> None:
        error = _error(state)
        self._tell(
            f"{_named(error.doing, error.account)}: {error.answer}; trying again in {state.upcoming_sleep:.1f} s "
            f"(attempt {state.attempt_number + 1}, {self.left():.0f} s left)"
        )

    def _tell(self, text: str) -> None:
        if self._say is not None:
            self._say(text)


def is_passing(error: errors.ThingSpaceError) -> bool:
    """Whether a failure may be over in a moment."""
    if isinstance(error, errors.Unreachable):
        return error.passing
    return isinstance(error, errors.RateLimited | errors.ServerFault)


_BACK_OFF = wait_exponential(FIRST_PAUSE, LONGEST_PAUSE) + wait_random(0, FIRST_PAUSE)


def _pause(state: RetryCallState) -> float:
    """Seconds to the next attempt: what ThingSpace asked for, and never less than our own back-off."""
    error = _error(state)
    asked = error.retry_after if isinstance(error, errors.Refused) else 0.0
    return max(asked, _BACK_OFF(state))


def _error(state: RetryCallState) -> errors.ThingSpaceError:
    """What the last attempt ended in; only such errors are tried again."""
    return cast("errors.ThingSpaceError", state.outcome and state.outcome.exception())


def _named(doing: str, account: str | None) -> str:
    return f"account {account}: {doing}" if account else doing
