"""Exponential backoff: the wait between two attempts of the same work."""

from __future__ import annotations

import random
from collections.abc import Callable

MAX_EXPONENT = 30  # keeps the power of two finite for any number of attempts


def exponential_backoff(
    attempt: int, initial_seconds: float, max_seconds: float, jitter: Callable[[], float] = random.random
) -> float:
    """Return the seconds to wait after an attempt: `initial_seconds` doubled each time, at most `max_seconds`.

    Jitter takes away up to half of the wait, so that clients which failed together do not return together. Below
    `max_seconds`, a wait is never shorter than the one before it.

    Args:
        attempt: number of failed attempts before this wait, less one: 0 after the first.
        initial_seconds: longest wait after the first attempt.
        max_seconds: longest wait of all.
        jitter: a number from 0 to 1, by default random; 1 is the whole wait.
    """
    return min(initial_seconds * 2.0 ** min(attempt, MAX_EXPONENT), max_seconds) * (0.5 + jitter() / 2)


def no_jitter() -> float:
    """Return 1: pass it as `jitter` where one client waits alone and its schedule must be exact."""
    return 1.0
