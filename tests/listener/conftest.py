from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import crash_points, postgres_server
from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ListenerProcess
from tests.support.postgres_server import PostgresServer
from tests.support.webhook_receiver import Receiver


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ListenerProcess]]:
    """Function that starts listeners in the folder of this test; they are killed at the end."""
    started: list[ListenerProcess] = []

    def start_listener(*options: str, **changes: Any) -> ListenerProcess:
        started.append(ListenerProcess(tmp_path, *options, **changes))
        return started[-1]

    yield start_listener
    for listener in started:
        listener.kill()


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListenerProcess]:
    """Listener that the tests of a module share. Each test checks only its own messages."""
    running = ListenerProcess(tmp_path_factory.mktemp("listener"))
    yield running
    running.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Receiver of forwarded messages."""
    running = Receiver()
    yield running
    running.close()


@pytest.fixture
def other() -> Iterator[Receiver]:
    """Second receiver."""
    running = Receiver()
    yield running
    running.close()


@pytest.fixture(scope="session")
def strace() -> None:
    """Skip the test where strace cannot attach to another process."""
    if reason := crash_points.get_skip_reason():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL server that all tests share; each starts with an empty database."""
    if reason := postgres_server.get_skip_reason():
        pytest.skip(reason)
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def any_port_emulator(emulator: EmulatorProcess) -> EmulatorProcess:
    """Emulator that accepts callback URLs with any port."""
    emulator.control("PUT", "switches", {"registrationPorts": "any"})
    return emulator
