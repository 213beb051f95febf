"""Fixtures of all tests. One emulator process is shared and reset for each test."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.emulator_process import EmulatorProcess
from thingspace_provider.api import Credentials, ThingSpaceClient

pytest_plugins = ["tests.support.browser", "tests.support.fast_tests"]

# Pulumi stops its plugins with SIGINT, which background processes of a shell and their children ignore. Each command
# would then take 5 s longer, until Pulumi kills the plugins.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The duration of an example depends on the machine, not on the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def isolated_login_guard(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a login guard without rejected logins."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{time.monotonic_ns()}"))


@pytest.fixture(scope="session")
def emulator_process() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as process:
        yield process


@pytest.fixture
def emulator(emulator_process: EmulatorProcess) -> EmulatorProcess:
    """Emulator that has been reset."""
    emulator_process.reset()
    return emulator_process


@pytest.fixture
def credentials(emulator: EmulatorProcess) -> Credentials:
    ready = emulator.ready
    return Credentials(ready["appKey"], ready["appSecret"], ready["username"], ready["password"], emulator.url)


@pytest.fixture
def thingspace(credentials: Credentials) -> ThingSpaceClient:
    """Client of the emulator with its own login."""
    return ThingSpaceClient(credentials)
