"""Concurrency of the SDK's real provider process, which has four threads by default."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.emulator_process import EmulatorProcess
from tests.support.fake_engine import Engine, Provider
from tests.support.waiting import wait_until
from thingspace_provider import sdk_thread_pool

ACCOUNT = "0000123456-00001"
Outputs = tuple[str, dict[str, Any]]

# A Python in which the private attribute of the thread pool has another name.
RENAMED = """
import concurrent.futures.thread as thread, inspect
exec(inspect.getsource(thread).replace("_max_workers", "_worker_limit"), thread.__dict__)
"""


class HeldCalls:
    """startCallbacks calls that wait for their response, because the emulator's clock is frozen."""

    def __init__(self, emulator: EmulatorProcess) -> None:
        self._emulator = emulator
        emulator.control("POST", "clock", {"frozen": True})
        emulator.control("POST", "faults", {"operation": "startCallbacks", "delaySeconds": 1, "times": 1000})

    def under_way(self) -> int:
        """Return the number of calls that wait."""
        [rule] = self._emulator.control("GET", "faults")["faults"]
        return int(rule["hits"])

    def release(self) -> None:
        """Let them and all later calls get their response."""
        self._emulator.control("DELETE", "faults")
        self._emulator.control("POST", "clock", {"advanceSeconds": 2, "frozen": False})


@pytest.fixture
def pulumi() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=64) as threads:
        yield threads


def create(pulumi: ThreadPoolExecutor, engine: Engine, count: int) -> list[Future[Outputs]]:
    """Create activations as `pulumi up --parallel COUNT` does."""
    inputs = {"accountName": ACCOUNT}
    return [pulumi.submit(engine.create, "SmsCallbackActivation", inputs) for _ in range(count)]


@pytest.mark.parametrize(("environment", "count"), [({}, 32), ({"THINGSPACE_PARALLEL": "48"}, 48)])
def test_concurrent_calls_share_one_token_and_one_session(
    provider: Provider, emulator: EmulatorProcess, pulumi: ThreadPoolExecutor, environment: dict[str, str], count: int
) -> None:
    held = HeldCalls(emulator)
    created = create(pulumi, provider.start({**emulator.environment, **environment}), count)
    try:
        wait_until(lambda: held.under_way() == count, 60, f"{count} calls run at the same time")
    finally:
        held.release()
    assert [outcome.result(60)[0] for outcome in created] == [ACCOUNT] * count
    assert emulator.count_calls() == {"token": 1, "login": 1, "startCallbacks": count}
    lines = [line for line in provider.read_output().splitlines() if "still waiting for" not in line]
    assert lines == []  # no warning of urllib3 about too few connections


@pytest.mark.parametrize("how", ["configured", "attribute renamed"])
def test_all_calls_succeed_with_the_four_threads_of_the_sdk(
    provider: Provider, emulator: EmulatorProcess, pulumi: ThreadPoolExecutor, tmp_path: Path, how: str
) -> None:
    environment = {"THINGSPACE_PARALLEL": "4"}
    if how == "attribute renamed":
        (tmp_path / "sitecustomize.py").write_text(RENAMED)
        environment = {"PYTHONPATH": str(tmp_path), "THINGSPACE_DEBUG": "1"}
    engine = provider.start({**emulator.environment, **environment})
    held = HeldCalls(emulator)
    created = create(pulumi, engine, 12)
    try:
        wait_until(lambda: held.under_way() == 4, 60, "4 calls run at the same time")
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):  # all threads are busy
            engine.check("SmsCallbackActivation", {"accountName": ACCOUNT}, seconds=1)
        assert held.under_way() == 4
    finally:
        held.release()
    assert [outcome.result(60)[0] for outcome in created] == [ACCOUNT] * 12
    output = provider.read_output()
    assert output.count("concurrency limited to the SDK's 4 resource operations") == (how == "attribute renamed"), (
        output
    )


def test_raising_max_workers_starts_threads_for_calls_that_already_wait() -> None:
    pool = ThreadPoolExecutor(4)
    many, over, under_way = threading.Event(), threading.Event(), []

    def call(number: int) -> None:
        if number == 0:
            many.wait(10)
            assert sdk_thread_pool.raise_max_workers(48) == ""
        under_way.append(number)
        over.wait(20)

    calls = [pool.submit(call, number) for number in range(20)]
    many.set()
    wait_until(lambda: len(under_way) == 20, 60, "20 calls run at the same time")
    calls += [pool.submit(call, number) for number in range(20, 48)]
    try:
        wait_until(lambda: len(under_way) == 48, 15, "48 calls run at the same time")
    finally:
        over.set()
        pool.shutdown()
    assert [future.result(60) for future in calls] == [None] * 48


def test_the_reason_for_four_threads_is_logged_only_with_debugging(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(RENAMED)
    engine = provider.start({"PYTHONPATH": str(tmp_path)})
    assert engine.check("SmsCallbackActivation", {"accountName": ACCOUNT})[1] == []
    assert provider.read_output() == ""


@pytest.mark.parametrize("given", ["many", "3", "257", "8.0"])
def test_an_invalid_number_of_workers_is_reported_by_check(provider: Provider, given: str) -> None:
    engine = provider.start({"THINGSPACE_PARALLEL": given})
    with pytest.raises(grpc.RpcError, match=f"THINGSPACE_PARALLEL is '{given}'"):
        engine.check("SmsCallbackActivation", {"accountName": ACCOUNT})


@pytest.mark.parametrize("module", ["providers", "resources", "hosting", "config.stack_settings"])
def test_programs_and_previews_load_no_http_library(module: str) -> None:
    loaded = f"import sys, thingspace_provider.{module}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert "thingspace_provider.api" in modules
    # Each takes as long to load as the whole rest of the package.
    assert {"requests", "urllib3", "tenacity", "thingspace_provider.api.client"}.isdisjoint(modules)
