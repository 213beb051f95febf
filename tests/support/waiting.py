"""Bounded wait for a condition: the only polling loop of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: Checked at least once, then every 20 ms.
        seconds: Timeout. It bounds a failing test and does not slow a passing one, so choose it generously.
        what: The awaited state, as the error names it: "the listener stores the message".

    Raises:
        AssertionError: The condition did not hold within the timeout.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds:g} s: {what}")
        time.sleep(0.02)
