"""Timeouts for work that has none of its own, and waiting for a condition."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

POLL_SECONDS = 0.05
Result = TypeVar("Result")


def run_with_timeout(work: Callable[[], Result], seconds: float, name: str) -> Result:
    """Run work in a daemon thread; return its result or raise its error.

    Raises concurrent.futures.TimeoutError after `seconds`. Python cannot stop a thread, so the work then continues
    until it ends, or until the process does.

    Args:
        work: for example a DNS lookup, or a response that arrives byte by byte.
        seconds: the timeout.
        name: name of the thread.
    """
    future: Future[Result] = Future()
    threading.Thread(target=_run, args=(work, future), daemon=True, name=name).start()
    return future.result(seconds)


def wait_until(condition: Callable[[], bool], seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
    """Return whether a condition became true before the timeout. Checks it at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


def _run(work: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  raised in the waiting thread
        future.set_exception(error)
