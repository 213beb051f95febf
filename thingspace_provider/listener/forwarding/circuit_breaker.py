"""Circuit breaker for one sink.

Five failures in a row of the sink, or of five devices, open it: the messages of one device must not stop the others.
When half-open, it permits one probe delivery.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable

from thingspace_provider.common.backoff import exponential_backoff

FAILURE_THRESHOLD = 5
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 60.0  # between two probe deliveries


class CircuitBreaker:
    """Closed at first. `clock` returns monotonic seconds, `jitter` a number from 0 to 1."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures: set[Hashable] = set()  # since the last success; one element for each failure that counts
        self._open_count = 0
        self._next_probe_at = 0.0
        self._probing = False
        self.is_open = False
        self.last_error = ""  # "" after a success

    @property
    def state(self) -> str:
        """`closed`, `open`, or `half_open` while a probe delivery is permitted or runs."""
        if not self.is_open:
            return "closed"
        return "half_open" if self._probing or self._clock() >= self._next_probe_at else "open"

    def permits(self, max_deliveries: int) -> int:
        """Return how many deliveries can start now: `max_deliveries`, none, or one probe delivery."""
        if not self.is_open:
            return max_deliveries
        return 0 if self._probing or self._clock() < self._next_probe_at else min(max_deliveries, 1)

    def seconds_until_probe(self) -> float:
        """Return the seconds until the next probe delivery can start; 0 if none waits for its time."""
        return max(0.0, self._next_probe_at - self._clock()) if self.is_open and not self._probing else 0.0

    def record_start(self) -> None:
        """Record the start of a delivery. While the circuit breaker is open, it is the probe delivery."""
        self._probing = self.is_open

    def record_success(self) -> bool:
        """Record a success. Return whether it closed the circuit breaker, as only a probe delivery can."""
        was_open = self.is_open
        if was_open and not self._probing:
            return False  # started before the circuit breaker opened
        self._failures.clear()
        self._open_count = 0
        self.is_open = self._probing = False
        self.last_error = ""
        return was_open

    def record_failure(
        self, ordering_key: str, error: str, *, sink_wide: bool, retry_after_seconds: float = 0.0
    ) -> bool:
        """Record a failure. Return whether it opened the circuit breaker.

        Args:
            ordering_key: ordering key of the message.
            error: the error.
            sink_wide: whether the sink failed, whatever the message.
            retry_after_seconds: how long the sink requests no delivery.
        """
        self.last_error = error
        self._failures.add(object() if sink_wide else ordering_key)
        was_open = self.is_open
        if was_open and not self._probing:
            return False  # started before the circuit breaker opened
        if was_open or len(self._failures) >= FAILURE_THRESHOLD or (sink_wide and retry_after_seconds > 0):
            backoff = exponential_backoff(self._open_count, INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, self._jitter)
            self._next_probe_at = self._clock() + max(backoff, retry_after_seconds)
            self._open_count += 1
            self.is_open, self._probing = True, False
        return self.is_open and not was_open

    def abandon_probe(self) -> None:
        """Record that the probe delivery ended without an outcome."""
        self._probing = False
