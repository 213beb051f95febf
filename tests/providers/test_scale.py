"""Many calls at once through the SDK's real provider process, which has four threads of its own."""

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

from tests.support.emulator_process import EmulatorProcess, wait_until
from tests.support.fake_engine import Engine, Provider
from thingspace_provider import sdk_thread_pool

ACCOUNT = "0000123456-00001"
Outputs = tuple[str, dict[str, Any]]

# A Python in which the private attribute that we raise is called something else, and everything works all the same.
RENAMED = """
import concurrent.futures.thread as thread, inspect
exec(inspect.getsource(thread).replace("_max_workers", "_most_workers"), thread.__dict__)
"""


class HeldCalls:
    """ThingSpace takes startCallbacks calls and answers none of them, because its clock stands still."""

    def __init__(self, emulator: EmulatorProcess) -> None:
        self._emulator = emulator
        emulator.control("POST", "clock", {"frozen": True})
        emulator.control("POST", "faults", {"operation": "startCallbacks", "delay": 1, "times": 1000})

    def under_way(self) -> int:
        """How many calls have come."""
        [rule] = self._emulator.control("GET", "faults")["faults"]
        return int(rule["hits"])

    def release(self) -> None:
        """Answer them, and whatever comes from now on."""
        self._emulator.control("DELETE", "faults")
        self._emulator.control("POST", "clock", {"advanceSeconds": 2, "frozen": False})


@pytest.fixture
def pulumi() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=64) as threads:
        yield threads


def create(pulumi: ThreadPoolExecutor, engine: Engine, count: int) -> list[Future[Outputs]]:
    """As `pulumi up --parallel COUNT` does it."""
    inputs = {"accountName": ACCOUNT}
    return [pulumi.submit(engine.create, "SmsCallbackActivation", inputs) for _ in range(count)]


@pytest.mark.parametrize(("environment", "count"), [({}, 32), ({"THINGSPACE_PARALLEL": "48"}, 48)])
def test_so_many_calls_are_under_way_at_once_on_one_token_and_one_session(
    provider: Provider, emulator: EmulatorProcess, pulumi: ThreadPoolExecutor, environment: dict[str, str], count: int
) -> None:
    held = HeldCalls(emulator)
    created = create(pulumi, provider.start({**emulator.environment, **environment}), count)
    came = wait_until(lambda: held.under_way() == count)
    held.release()
    assert [outcome.result()[0] for outcome in created] == [ACCOUNT] * count
    assert came
    assert emulator.count_calls() == {"token": 1, "login": 1, "startCallbacks": count}
    lines = [line for line in provider.read_output().splitlines() if "still waiting for" not in line]
    assert lines == []  # as urllib3 would, had it fewer connections than there are threads


@pytest.mark.parametrize("how", ["asked for", "attribute renamed"])
def test_with_the_sdks_own_four_threads_everything_works_as_before(
    provider: Provider, emulator: EmulatorProcess, pulumi: ThreadPoolExecutor, tmp_path: Path, how: str
) -> None:
    environment = {"THINGSPACE_PARALLEL": "4"}
    if how == "attribute renamed":
        (tmp_path / "sitecustomize.py").write_text(RENAMED)
        environment = {"PYTHONPATH": str(tmp_path), "THINGSPACE_DEBUG": "1"}
    engine = provider.start({**emulator.environment, **environment})
    held = HeldCalls(emulator)
    created = create(pulumi, engine, 12)
    came = wait_until(lambda: held.under_way() == 4)
    with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):  # nobody is free to answer
        engine.check("SmsCallbackActivation", {"accountName": ACCOUNT}, seconds=1)
    still = held.under_way()
    held.release()
    assert [outcome.result()[0] for outcome in created] == [ACCOUNT] * 12
    assert (came, still) == (True, 4)
    output = provider.read_output()
    assert output.count("at most 4 calls at once") == (how == "attribute renamed"), output


def test_earlier_calls_leave_no_later_call_without_a_thread() -> None:
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
    assert wait_until(lambda: len(under_way) == 20)
    calls += [pool.submit(call, number) for number in range(20, 48)]
    came = wait_until(lambda: len(under_way) == 48, 15)
    over.set()
    pool.shutdown()
    assert [future.result() for future in calls] == [None] * 48
    assert came


def test_why_there_are_only_four_threads_is_nobodys_business_without_debugging(
    provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(RENAMED)
    engine = provider.start({"PYTHONPATH": str(tmp_path)})
    assert engine.check("SmsCallbackActivation", {"accountName": ACCOUNT})[1] == []
    assert provider.read_output() == ""


@pytest.mark.parametrize("given", ["many", "3", "257", "8.0"])
def test_a_wrong_number_is_an_error_before_anything_is_created(provider: Provider, given: str) -> None:
    engine = provider.start({"THINGSPACE_PARALLEL": given})
    with pytest.raises(grpc.RpcError, match=f"THINGSPACE_PARALLEL is '{given}'"):
        engine.check("SmsCallbackActivation", {"accountName": ACCOUNT})


@pytest.mark.parametrize("module", ["providers", "resources", "hosting", "config.stack_settings"])
def test_what_a_program_and_a_preview_load_cannot_send_anything(module: str) -> None:
    loaded = f"import sys, thingspace_provider.{module}; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert "thingspace_provider.api" in modules
    # Each takes as long to load as everything else of ours together.
    assert {"requests", "urllib3", "tenacity", "thingspace_provider.api.client"}.isdisjoint(modules)
