"""Bounds in time what has no time-out of its own, as the lookup of a name or an answer that comes byte by byte."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def run_with_timeout(work: Callable[[], Result], seconds: float, name: str) -> Result:
    """What the work returns or raises, from a thread of that name; after `seconds` concurrent.futures.TimeoutError.

    Work that is given up goes on by itself, at most until the process ends.
    """
    future: Future[Result] = Future()
    threading.Thread(target=_run, args=(work, future), daemon=True, name=name).start()
    return future.result(seconds)


def _run(work: Callable[[], Result], future: Future[Result]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
        future.set_exception(error)
