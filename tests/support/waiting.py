"""Bounded waits for conditions, threads and the output of processes."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any


def wait_until(condition: Callable[[], object], seconds: float, what: str, interval_seconds: float = 0.02) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: Checked at least once.
        seconds: Timeout. It bounds a failing test and does not slow a passing one, so choose it generously.
        what: The awaited state, as the error names it: "the listener stores the message".
        interval_seconds: Pause between two checks.

    Raises:
        AssertionError: The condition did not hold within the timeout.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {seconds:g} s: {what}")
        time.sleep(interval_seconds)


def join_thread(thread: threading.Thread, seconds: float = 60.0) -> None:
    """Wait for the end of a thread.

    Raises:
        AssertionError: The thread still runs after the timeout.
    """
    thread.join(seconds)
    if thread.is_alive():
        raise AssertionError(f"timed out after {seconds:g} s: thread {thread.name} ends")


@contextlib.contextmanager
def time_limit(process: subprocess.Popen[Any], seconds: float = 60.0) -> Iterator[None]:
    """Kill the process at the timeout, so that a blocking read of its output in this block ends.

    Raises:
        AssertionError: The block took longer than the timeout.
    """
    timed_out = threading.Event()

    def kill() -> None:
        timed_out.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timed_out.is_set():
            raise AssertionError(f"timed out after {seconds:g} s: process {process.args!r} writes its output")
