"""What an operation may use of time and of ThingSpace."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long an operation may take, and how often ThingSpace may be called.

    Args:
        deadline: seconds for one operation, every attempt, pause and login included.
        answer: seconds for one answer.
        rate: calls a second over all threads; ThingSpace publishes no limit for these calls.
    """

    resource_timeout_seconds: float = 120.0
    response_timeout_seconds: float = 30.0
    calls_per_second: float = 100.0
