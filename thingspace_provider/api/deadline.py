"""Deadline of one resource operation. All attempts and backoffs of its calls share it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from thingspace_provider.api import errors
from thingspace_provider.api.limits import Limits

SLOW_CALL_SECONDS = 5.0
RERUN_HINT = (
    "Run it again: completed steps are kept, and the remaining ones follow. "
    "Set THINGSPACE_RESOURCE_TIMEOUT_SECONDS to allow more time for one resource operation."
)


class Deadline:
    """The monotonic time at which a resource operation must end, computed when it begins.

    Args:
        limits: timeouts of the resource operation and of one response.
        log: receives one line of progress at a time.
        clock: monotonic time in seconds.
        sleep: waits for a number of seconds.
        slow_call_seconds: wait that is reported to `log`.
    """

    def __init__(
        self,
        limits: Limits,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        slow_call_seconds: float = SLOW_CALL_SECONDS,
    ) -> None:
        self._limits = limits
        self._log = log
        self._clock = clock
        self._expires_at = clock() + limits.resource_timeout_seconds
        self._slow_call_seconds = slow_call_seconds
        self.pause = sleep
        self.retries_exhausted = False  # calls nest: when one stops retrying, the calls around it stop too

    def remaining_seconds(self) -> float:
        """Return the seconds until the deadline, 0 after it."""
        return max(self._expires_at - self._clock(), 0.0)

    def response_timeout(self, action: str, account: str | None) -> float:
        """Return the seconds to wait for the next response. Raises DeadlineExceeded after the deadline."""
        remaining_seconds = self.remaining_seconds()
        if not remaining_seconds:
            raise self.exceeded(action, account, "no time was left to send the request")
        return min(self._limits.response_timeout_seconds, remaining_seconds)

    def exceeded(
        self, action: str, account: str | None, detail: str, hint: str = RERUN_HINT
    ) -> errors.DeadlineExceeded:
        """Build the error for a resource operation that exceeds its deadline."""
        timeout_seconds = self._limits.resource_timeout_seconds
        return errors.DeadlineExceeded(action, account, f"not completed within {timeout_seconds:g} s: {detail}", hint)

    def sleep(self, seconds: float, action: str, account: str | None, reason: str, hint: str) -> None:
        """Sleep, and report a long sleep with its reason. Raises DeadlineExceeded at once if it ends too late."""
        if seconds >= self.remaining_seconds():
            raise self.exceeded(action, account, reason, hint)
        if seconds >= self._slow_call_seconds:
            self.report(action, account, f"{reason}; waiting {seconds:.0f} s")
        if seconds > 0:
            self.pause(seconds)

    @contextlib.contextmanager
    def log_if_slow(self, action: str, account: str | None, waiting_for: str) -> Iterator[None]:
        """Report what a block waits for if it is slow."""
        if self._log is None:
            yield
            return
        detail = f"still waiting for {waiting_for}, at most {self.remaining_seconds():.0f} s more"
        timer = threading.Timer(self._slow_call_seconds, self.report, [action, account, detail])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def report(self, action: str, account: str | None, detail: str) -> None:
        """Pass one line to `log`: `account <name>: <action>: <detail>`."""
        if self._log is not None:
            self._log(f"account {account}: {action}: {detail}" if account else f"{action}: {detail}")
