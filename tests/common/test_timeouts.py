"""Timeouts for work without one, and waiting for a condition."""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from thingspace_provider.common.timeouts import run_with_timeout, wait_until


def test_the_result_of_the_work_is_returned() -> None:
    assert run_with_timeout(threading.current_thread, 10, "worker").name == "worker"


def test_the_error_of_the_work_is_raised() -> None:
    def fail() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_with_timeout(fail, 10, "worker")


def test_slow_work_times_out() -> None:
    released = threading.Event()
    with pytest.raises(FutureTimeoutError):
        run_with_timeout(lambda: released.wait(30), 0.05, "worker")
    released.set()


def test_wait_until_returns_when_the_condition_is_true() -> None:
    results = iter([False, False, True])
    assert wait_until(lambda: next(results), 10, poll_seconds=0.001)


def test_wait_until_checks_once_without_time() -> None:
    assert wait_until(lambda: True, 0)
    assert not wait_until(lambda: False, 0)
