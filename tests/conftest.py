"""What several rooms' tests share: one emulator process, reset before each test that uses it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.emulator_process import EmulatorProcess
from thingspace_provider.api import Credentials, ThingSpaceClient

pytest_plugins = ["tests.support.browser", "tests.support.fast_tests"]

# The engine ends its plugins by SIGINT. In the background of a shell that is ignored, by children too, and every
# command of the engine would take the five seconds after which it ends them otherwise.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something about the machine, not about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def isolated_login_guard(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of this machine who has never been refused."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{time.monotonic_ns()}"))


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as process:
        yield process


@pytest.fixture
def emulator(emulator_process: EmulatorProcess) -> EmulatorProcess:
    """An emulator in which nothing has happened yet."""
    emulator_process.reset()
    return emulator_process


@pytest.fixture
def credentials(emulator: EmulatorProcess) -> Credentials:
    ready = emulator.ready
    return Credentials(ready["appKey"], ready["appSecret"], ready["username"], ready["password"], emulator.url)


@pytest.fixture
def thingspace(credentials: Credentials) -> ThingSpaceClient:
    """A client of the emulator with a login of its own."""
    return ThingSpaceClient(credentials)
