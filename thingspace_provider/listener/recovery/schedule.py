"""When the queue of one account is asked for: soon after a reason, now and then without one, never too often.

A reason is a start or a refusal. While reasons go on after the queue was asked for, as with a wrong password that
ThingSpace was told, or while asking fails, the pauses double up to the longest time between two questions.
"""

from __future__ import annotations

import math

from thingspace_provider.common.backoff import exponential_backoff, no_jitter

MIN_INTERVAL_FACTOR = 6  # the least time between two questions, in settling times: a minute


class RecoverySchedule:
    """The times of one account, in seconds of one clock that only goes forward.

    `due` is when to ask next. `enough` is the moment after which somebody else's question serves as ours.

    Args:
        settle: from a reason to the question, so that what was refused has reached the queue.
        every: the longest time between two questions.
        now: the start, which is the first reason.
    """

    def __init__(self, delay_seconds: float, interval_seconds: float, now: float) -> None:
        self._delay_seconds = delay_seconds
        self._interval_seconds = interval_seconds
        self._not_before = -math.inf
        self._backoff_exponent = 0
        self._first_request, self._last_request = (
            now,
            now,
        )  # reasons since the last question; the first is infinite without one
        self.due = now + delay_seconds
        self.satisfied_after = now

    def request(self, now: float) -> None:
        """Something was refused."""
        if self._first_request == math.inf:
            self._first_request = now
            self.due = min(self.due, max(now + self._delay_seconds, self._not_before))
        self._last_request = now
        self.satisfied_after = now + self._delay_seconds

    def completed(self, started: float, now: float) -> None:
        """The queue was asked for, between these moments."""
        self._backoff_exponent = self._backoff_exponent + 1 if self._first_request <= self._not_before else 0
        self._not_before = now + self._backoff
        if self._last_request > started:  # while it was being asked for
            self._first_request = self._last_request
            self.due = max(self._last_request + self._delay_seconds, self._not_before)
        else:
            self._first_request = math.inf
            self.due, self.satisfied_after = now + self._interval_seconds, now + self._interval_seconds / 2

    def failed(self, now: float) -> None:
        """The queue could not be asked for: later, and later each time."""
        self.due = self._not_before = now + self._backoff
        self._backoff_exponent += 1

    def postpone(self, now: float, seconds: float | None = None) -> None:
        """Not now, and not because of ThingSpace; by default for as long as a refusal takes to settle."""
        self.due = now + (self._delay_seconds if seconds is None else seconds)

    @property
    def min_interval(self) -> float:
        """The least time between two questions, whoever asked the first."""
        return min(MIN_INTERVAL_FACTOR * self._delay_seconds, self._interval_seconds)

    @property
    def _backoff(self) -> float:
        return exponential_backoff(self._backoff_exponent, self.min_interval, self._interval_seconds, no_jitter)
