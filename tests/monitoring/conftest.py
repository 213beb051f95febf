from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import postgres_server, prometheus
from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ListenerProcess
from tests.support.postgres_server import PostgresServer
from tests.support.prometheus import Prometheus
from tests.support.webhook_receiver import Receiver


@pytest.fixture(scope="session")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus that all tests share; each test has a job of its own."""
    if reason := prometheus.get_skip_reason():
        pytest.skip(reason)
    server = Prometheus(tmp_path_factory.mktemp("prometheus"))
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ListenerProcess]]:
    """Function that starts a listener in a folder of its own, or in that of a former one; it is killed at the end."""
    started: list[ListenerProcess] = []

    def start_listener(folder: Path | None = None, **changes: Any) -> ListenerProcess:
        folder = folder or tmp_path / f"listener-{len(started)}"
        folder.mkdir(exist_ok=True)
        started.append(ListenerProcess(folder, **changes))
        return started[-1]

    yield start_listener
    for listener in started:
        listener.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Receiver of forwarded messages."""
    running = Receiver()
    yield running
    running.close()


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
