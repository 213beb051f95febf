from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.raw_api_client import RawApiClient
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.platform import virtual_clock
from thingspace_provider.emulator.runtime.server import EmulatorThread
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener


@pytest.fixture(autouse=True)
def _long_listener_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clock that is moved while a listener answers: on a busy machine that takes longer than users should wait."""
    monkeypatch.setattr(virtual_clock, "LISTENER_TIMEOUT_SECONDS", 5.0)


@pytest.fixture(scope="session")
def shared() -> Iterator[EmulatorThread]:
    """One emulator for many tests; each finds it reset."""
    with EmulatorThread(EmulatorConfig(switches={"registrationPorts": "any"})) as running:
        yield running


@pytest.fixture
def caller(shared: EmulatorThread) -> RawApiClient:
    """A client with neither bearer nor session."""
    caller = RawApiClient(shared.url)
    assert caller.control("POST", "reset").status == 200
    return caller


@pytest.fixture
def client(caller: RawApiClient) -> RawApiClient:
    """A client that is logged in."""
    return caller.log_in()


@pytest.fixture
def listener(caller: RawApiClient) -> Iterator[ScriptedListener]:
    """A listener that answers 200 unless told otherwise. The emulator drops what it has under way before it goes."""
    with ScriptedListener() as listener:
        yield listener
        caller.control("POST", "reset")
