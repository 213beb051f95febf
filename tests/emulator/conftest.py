from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.raw_api_client import Caller
from thingspace_provider.emulator.emulator import Setup
from thingspace_provider.emulator.platform import virtual_clock
from thingspace_provider.emulator.runtime.server import Running
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clock that is moved while a listener answers: on a busy machine that takes longer than users should wait."""
    monkeypatch.setattr(virtual_clock, "PATIENCE", 5.0)


@pytest.fixture(scope="session")
def shared() -> Iterator[Running]:
    """One emulator for many tests; each finds it reset."""
    with Running(Setup(switches={"registrationPorts": "any"})) as running:
        yield running


@pytest.fixture
def caller(shared: Running) -> Caller:
    """A client with neither bearer nor session."""
    caller = Caller(shared.url)
    assert caller.control("POST", "reset").status == 200
    return caller


@pytest.fixture
def client(caller: Caller) -> Caller:
    """A client that is logged in."""
    return caller.ready()


@pytest.fixture
def listener(caller: Caller) -> Iterator[ScriptedListener]:
    """A listener that answers 200 unless told otherwise. The emulator drops what it has under way before it goes."""
    with ScriptedListener() as listener:
        yield listener
        caller.control("POST", "reset")
