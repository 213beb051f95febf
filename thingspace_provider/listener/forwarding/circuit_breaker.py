"""Leaves a sink alone that does not work, and asks it now and then, with one event, whether it does again.

It opens when the sink itself failed so often in a row, or as many devices' events did: one device whose text a sink
cannot digest is no reason to let the others wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable

from thingspace_provider.common.backoff import exponential_backoff

FAILURE_THRESHOLD = 5
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 60.0  # between two probes


class CircuitBreaker:
    """Closed at first. `clock` tells seconds that only grow; `chance` a number from 0 to 1."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, jitter: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures: set[Hashable] = set()  # since the last success: one mark for each failure that counts
        self._open_count = 0
        self._next_probe_at = 0.0
        self._probing = False
        self.is_open = False
        self.last_error = ""  # of the last failure, "" since a success

    def permits(self, max_deliveries: int) -> int:
        """How many deliveries may begin now: `most`, none, or one that probes."""
        if not self.is_open:
            return max_deliveries
        return 0 if self._probing or self._clock() < self._next_probe_at else min(max_deliveries, 1)

    def seconds_until_probe(self) -> float:
        """Seconds until the next probe may begin; 0 when nothing has to wait."""
        return max(0.0, self._next_probe_at - self._clock()) if self.is_open and not self._probing else 0.0

    def record_start(self) -> None:
        """A delivery begins; while it is open, that is the probe."""
        self._probing = self.is_open

    def record_success(self) -> None:
        """The sink works. While it is open only the probe can show that: others began before it opened."""
        if self.is_open and not self._probing:
            return
        self._failures.clear()
        self._open_count = 0
        self.is_open = self._probing = False
        self.last_error = ""

    def record_failure(
        self, ordering_key: str, error: str, *, sink_wide: bool, retry_after_seconds: float = 0.0
    ) -> None:
        """A delivery failed: because of the sink itself, or perhaps of the event; `after` seconds it wants no other."""
        self.last_error = error
        self._failures.add(object() if sink_wide else ordering_key)
        if self.is_open and not self._probing:
            return  # began before it opened
        if self._probing or len(self._failures) >= FAILURE_THRESHOLD or (sink_wide and retry_after_seconds > 0):
            backoff = exponential_backoff(self._open_count, INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, self._jitter)
            self._next_probe_at = self._clock() + max(backoff, retry_after_seconds)
            self._open_count += 1
            self.is_open, self._probing = True, False

    def abandon_probe(self) -> None:
        """The probe ended without an answer."""
        self._probing = False
