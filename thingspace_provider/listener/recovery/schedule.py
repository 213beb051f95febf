"""When the queue of one account is asked for: soon after a reason, now and then without one, never too often.

A reason is a start or a refusal. While reasons go on after the queue was asked for, as with a wrong password that
ThingSpace was told, or while asking fails, the pauses double up to the longest time between two questions.
"""

from __future__ import annotations

import math

MIN_INTERVAL_FACTOR = 6  # the least time between two questions, in settling times: a minute


class RecoverySchedule:
    """The times of one account, in seconds of one clock that only goes forward.

    `due` is when to ask next. `enough` is the moment after which somebody else's question serves as ours.

    Args:
        settle: from a reason to the question, so that what was refused has reached the queue.
        every: the longest time between two questions.
        now: the start, which is the first reason.
    """

    def __init__(self, settle: float, every: float, now: float) -> None:
        self._settle = settle
        self._every = every
        self._earliest = -math.inf
        self._doublings = 0
        self._first, self._last = now, now  # reasons since the last question; the first is infinite without one
        self.due = now + settle
        self.satisfied_after = now

    def request(self, now: float) -> None:
        """Something was refused."""
        if self._first == math.inf:
            self._first = now
            self.due = min(self.due, max(now + self._settle, self._earliest))
        self._last = now
        self.satisfied_after = now + self._settle

    def completed(self, begun: float, now: float) -> None:
        """The queue was asked for, between these moments."""
        self._doublings = self._doublings + 1 if self._first <= self._earliest else 0
        self._earliest = now + self._pause
        if self._last > begun:  # while it was being asked for
            self._first = self._last
            self.due = max(self._last + self._settle, self._earliest)
        else:
            self._first = math.inf
            self.due, self.satisfied_after = now + self._every, now + self._every / 2

    def failed(self, now: float) -> None:
        """The queue could not be asked for: later, and later each time."""
        self.due = self._earliest = now + self._pause
        self._doublings += 1

    def postpone(self, now: float, seconds: float | None = None) -> None:
        """Not now, and not because of ThingSpace; by default for as long as a refusal takes to settle."""
        self.due = now + (self._settle if seconds is None else seconds)

    @property
    def min_interval(self) -> float:
        """The least time between two questions, whoever asked the first."""
        return min(MIN_INTERVAL_FACTOR * self._settle, self._every)

    @property
    def _pause(self) -> float:
        return min(self.min_interval * 2.0 ** min(self._doublings, 20), self._every)
