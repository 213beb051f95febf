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
    """Use a longer timeout for listeners, because a busy machine needs it."""
    monkeypatch.setattr(virtual_clock, "LISTENER_TIMEOUT_SECONDS", 5.0)


@pytest.fixture(scope="session")
def shared() -> Iterator[EmulatorThread]:
    """Emulator that the tests share; each resets it."""
    with EmulatorThread(EmulatorConfig(switches={"registrationPorts": "any"})) as running:
        yield running


@pytest.fixture
def caller(shared: EmulatorThread) -> RawApiClient:
    """Client without access token and session."""
    caller = RawApiClient(shared.url)
    assert caller.control("POST", "reset").status == 200
    return caller


@pytest.fixture
def client(caller: RawApiClient) -> RawApiClient:
    """Client with a login."""
    return caller.log_in()


@pytest.fixture
def listener(caller: RawApiClient) -> Iterator[ScriptedListener]:
    """Listener that responds with 200 by default. The emulator's deliveries are cancelled before it stops."""
    with ScriptedListener() as listener:
        yield listener
        caller.control("POST", "reset")
