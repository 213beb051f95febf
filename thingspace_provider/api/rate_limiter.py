"""Rate limiter for the calls of all threads of a client."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable


class RateLimiter:
    """Permits `calls_per_second` with a burst of one second, and none during a `Retry-After`.

    Args:
        calls_per_second: the rate.
        clock: monotonic time in seconds.
    """

    def __init__(self, calls_per_second: float, clock: Callable[[], float]) -> None:
        self.calls_per_second = calls_per_second
        self._interval = 1.0 / calls_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._last_slot = clock() - 1.0
        self._paused_until = clock()

    def reserve(self, max_delay_seconds: float = math.inf) -> float:
        """Return the seconds until the next free slot, and reserve it if the delay is below `max_delay_seconds`."""
        with self._lock:
            now = self._clock()
            slot = max(self._last_slot, now - 1.0) + self._interval
            delay = max(slot - now, 0.0)
            if delay < max_delay_seconds:
                self._last_slot = slot
            return delay

    def pause(self, seconds: float) -> None:
        """Permit no call for a number of seconds."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
            self._last_slot = max(self._last_slot, self._paused_until)

    def pause_remaining(self) -> float:
        """Return the seconds until the end of the pause, 0 without one."""
        with self._lock:
            return max(self._paused_until - self._clock(), 0.0)
