from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.raw_api_client import RawApiClient
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.runtime.server import EmulatorThread
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener


@pytest.fixture(scope="session")
def shared() -> Iterator[EmulatorThread]:
    """Emulator for many tests; each resets it. The timeout is long, because a busy machine delays listeners."""
    with EmulatorThread(EmulatorConfig(switches={"registrationPorts": "any"}, listener_timeout_seconds=5.0)) as running:
        yield running


@pytest.fixture
def caller(shared: EmulatorThread) -> RawApiClient:
    """Client without access token and session."""
    caller = RawApiClient(shared.url)
    assert caller.control("POST", "reset").status == 200
    return caller


@pytest.fixture
def client(caller: RawApiClient) -> RawApiClient:
    """Client with an access token and a session."""
    return caller.log_in()


@pytest.fixture
def listener(caller: RawApiClient) -> Iterator[ScriptedListener]:
    """Listener that responds with 200 by default. The emulator cancels its deliveries before the listener stops."""
    with ScriptedListener() as listener:
        yield listener
        caller.control("POST", "reset")
