"""Leaves a sink alone that does not work, and asks it now and then, with one event, whether it does again.

It opens when the sink itself failed so often in a row, or as many devices' events did: one device whose text a sink
cannot digest is no reason to let the others wait.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable

FAILURE_THRESHOLD = 5
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0  # between two probes


def growing(times: int, first: float, longest: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures: doubled each time, less up to half by chance, lest all come at once."""
    return min(first * 2.0 ** min(times, 30), longest) * (0.5 + chance() / 2)


class CircuitBreaker:
    """Closed at first. `clock` tells seconds that only grow; `chance` a number from 0 to 1."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._failed: set[Hashable] = set()  # since the last success: one mark for each failure that counts
        self._pauses = 0
        self._until = 0.0
        self._probing = False
        self.is_open = False
        self.reason = ""  # of the last failure, "" since a success

    def permits(self, most: int) -> int:
        """How many deliveries may begin now: `most`, none, or one that probes."""
        if not self.is_open:
            return most
        return 0 if self._probing or self._clock() < self._until else min(most, 1)

    def wait(self) -> float:
        """Seconds until the next probe may begin; 0 when nothing has to wait."""
        return max(0.0, self._until - self._clock()) if self.is_open and not self._probing else 0.0

    def begin(self) -> None:
        """A delivery begins; while it is open, that is the probe."""
        self._probing = self.is_open

    def record_success(self) -> None:
        """The sink works. While it is open only the probe can show that: others began before it opened."""
        if self.is_open and not self._probing:
            return
        self._failed.clear()
        self._pauses = 0
        self.is_open = self._probing = False
        self.reason = ""

    def record_failure(self, device: str, reason: str, *, itself: bool, after: float = 0.0) -> None:
        """A delivery failed: because of the sink itself, or perhaps of the event; `after` seconds it wants no other."""
        self.reason = reason
        self._failed.add(object() if itself else device)
        if self.is_open and not self._probing:
            return  # began before it opened
        if self._probing or len(self._failed) >= FAILURE_THRESHOLD or (itself and after > 0):
            pause = growing(self._pauses, FIRST_SECONDS, LONGEST_SECONDS, self._chance)
            self._until = self._clock() + max(pause, after)
            self._pauses += 1
            self.is_open, self._probing = True, False

    def abandon_probe(self) -> None:
        """The probe ended without an answer."""
        self._probing = False
