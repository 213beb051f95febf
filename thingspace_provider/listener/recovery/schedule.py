"""Recovery schedule of one account: a run soon after each request, and at an interval.

A start or a rejected callback requests a run. While callbacks are rejected after a run too, for example because a wrong
password is registered, or while runs fail, the wait doubles up to the interval.
"""

from __future__ import annotations

import math

from thingspace_provider.common.backoff import exponential_backoff, no_jitter

MIN_INTERVAL_FACTOR = 6  # minimum time between two runs, in recovery delays: one minute by default


class RecoverySchedule:
    """Times of one account, in seconds of a monotonic clock.

    `due` is the time of the next run. A run of another replica after `satisfied_after` makes it unnecessary.

    Args:
        delay_seconds: from a request to its run, so that a rejected message has reached the queue.
        interval_seconds: maximum time between two runs.
        now: the start, which is the first request.
    """

    def __init__(self, delay_seconds: float, interval_seconds: float, now: float) -> None:
        self._delay_seconds = delay_seconds
        self._interval_seconds = interval_seconds
        self._not_before = -math.inf
        self._backoff_exponent = 0
        self._first_request = self._last_request = now  # since the last run; the first is infinite without a request
        self.due = now + delay_seconds
        self.satisfied_after = now

    def request(self, now: float) -> None:
        """Request a run, because a callback was rejected."""
        if self._first_request == math.inf:
            self._first_request = now
            self.due = min(self.due, max(now + self._delay_seconds, self._not_before))
        self._last_request = now
        self.satisfied_after = now + self._delay_seconds

    def completed(self, started: float, now: float) -> None:
        """Record a successful run between two times."""
        self._backoff_exponent = self._backoff_exponent + 1 if self._first_request <= self._not_before else 0
        self._not_before = now + self._backoff
        if self._last_request > started:  # during the run
            self._first_request = self._last_request
            self.due = max(self._last_request + self._delay_seconds, self._not_before)
        else:
            self._first_request = math.inf
            self.due, self.satisfied_after = now + self._interval_seconds, now + self._interval_seconds / 2

    def failed(self, now: float) -> None:
        """Record a failed run; its retry has a backoff."""
        self.due = self._not_before = now + self._backoff
        self._backoff_exponent += 1

    def postpone(self, now: float, seconds: float | None = None) -> None:
        """Postpone the run for a reason other than ThingSpace, by default by the recovery delay."""
        self.due = now + (self._delay_seconds if seconds is None else seconds)

    @property
    def min_interval(self) -> float:
        """Minimum time between two runs of all replicas."""
        return min(MIN_INTERVAL_FACTOR * self._delay_seconds, self._interval_seconds)

    @property
    def _backoff(self) -> float:
        return exponential_backoff(self._backoff_exponent, self.min_interval, self._interval_seconds, no_jitter)
