"""The listener is killed at every crash point. No acknowledged message is lost, and every stored one is delivered."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from tests.support.crash_points import (
    Point,
    build_killing_command,
    build_recording_command,
    kill_at,
    read_startup_points,
    record_points,
)
from tests.support.forwarding_harness import build_sink
from tests.support.listener_process import ListenerProcess, NotReady
from tests.support.load_senders import LoadSenders
from tests.support.postgres_server import PostgresServer
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.usefixtures("strace")

# The same listener with a short write-ahead log, so that a small load causes many checkpoints.
SHORT_WAL = """
import functools, sys
from thingspace_provider.cli import main
from thingspace_provider.listener.store import factory
factory.SqliteStore = functools.partial(factory.SqliteStore, max_wal_pages=20)
del sys.argv[1:4]
main()
"""
LISTENER = (sys.executable, "-c", SHORT_WAL)
CONNECTIONS = 6
MESSAGES_PER_CONNECTION = {"sqlite": 4, "postgresql": 10}  # about 300 crash points
SECONDS = 20  # until a crash point is reached
SAMPLED = ("write", "pwrite64", "fdatasync", "sendto")
KILLED = -signal.SIGKILL
LEASE_SECONDS = 120  # more than the lease of a killed replica


class Witness:
    """Records acknowledged and read messages over all processes on one store."""

    def __init__(self, folder: Path, receiver: Receiver, store: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.acknowledged: list[str] = []
        self.program: tuple[str, ...] = LISTENER
        self.messages_per_connection = MESSAGES_PER_CONNECTION[store.partition(":")[0]]
        self.has_postgres = store.startswith("postgresql:")
        self._receiver = receiver
        self._changes: dict[str, Any] = {"store": store, "sinks": [build_sink(receiver)]}
        self._read: list[tuple[str, str]] = []

    def start(self, *before: str) -> ListenerProcess:
        self._listener = ListenerProcess(self.folder, before=(*before, *self.program), **self._changes)
        return self._listener

    def close(self) -> None:
        """End the listener that a failed test has left."""
        self._listener.kill()

    def load(self, listener: ListenerProcess, prefix: object, message_count: int = 0) -> None:
        """Send messages over several connections at once. All must be acknowledged."""
        senders = LoadSenders(listener, str(prefix), CONNECTIONS, message_count or self.messages_per_connection)
        senders.wait()
        self.acknowledged += senders.acknowledged

    def warm(self, listener: ListenerProcess, name: object) -> None:
        """Start every thread and connection of a listener, always in the same order."""
        self.load(listener, f"warm {name}", message_count=1)
        self._receiver.wait_for(self.acknowledged[-1])
        self.see(listener)

    def see(self, listener: ListenerProcess) -> None:
        """Read from the last cursor. Every acknowledged message must be stored exactly once."""
        after = self._read[-1][0] if self._read else "0"
        while page := listener.fetch_page(after=after, limit=1000)["messages"]:
            self._read += [(message["id"], message["text"]) for message in page]
            after = page[-1]["id"]
        stored = Counter(message for _, message in self._read)
        assert [message for message in self.acknowledged if stored[message] != 1] == []

    def conclude(self, *, hurry: bool = False) -> None:
        """Start a last listener, and check the store with it.

        In PostgreSQL, the leases of a killed listener expire after a minute; `hurry` releases them.
        """
        if hurry and self.has_postgres:
            with psycopg.connect(self._changes["store"]) as database:
                database.execute("UPDATE thingspace.outbox SET next_attempt_at = 0 WHERE next_attempt_at > 0")
        self.check_store(self.start())

    def check_store(self, listener: ListenerProcess) -> None:
        """Check that all messages are unchanged, and that the sink has received them. Kill the listener."""
        self.see(listener)
        assert [(message["id"], message["text"]) for message in listener.messages()] == self._read
        self._receiver.wait_for(*(message for _, message in self._read), seconds=LEASE_SECONDS)
        listener.kill()
        file = self.folder / "inbox.sqlite3"
        if file.exists():
            with apsw.Connection(str(file)) as database:
                assert database.pragma("integrity_check") == "ok"


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """Function that returns the URL of an empty store for a folder."""
    if request.param == "SQLite":
        return lambda folder: f"sqlite:///{folder / 'inbox.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda _: server.create_database()


@pytest.fixture
def witness(tmp_path: Path, receiver: Receiver, store: Callable[[Path], str]) -> Iterator[Witness]:
    witness = Witness(tmp_path, receiver, store(tmp_path))
    yield witness
    witness.close()


def record_points_under_load(witness: Witness, min_points: int = 1) -> list[Point]:
    """Return the crash points of a listener under load. The load grows until there are enough."""
    points: list[Point] = []
    message_count = witness.messages_per_connection
    while len(points) < min_points:
        listener = witness.start()
        witness.warm(listener, f"count {message_count}")
        with record_points(listener, witness.folder) as points:
            witness.load(listener, f"count {message_count}", message_count)
        listener.kill()
        message_count *= 2
    return points


def kill_under_load(points: list[Point], witness: Witness) -> None:
    """Kill one listener after the other at its crash point, all on one store."""
    missed = []
    for point in points:
        listener = witness.start()
        witness.warm(listener, point)
        with kill_at(listener, point):
            senders = LoadSenders(listener, str(point), CONNECTIONS)
            try:
                assert listener.process.wait(SECONDS) == KILLED
            except subprocess.TimeoutExpired:
                missed.append(point)
            senders.end()
        listener.kill()
        witness.acknowledged += senders.acknowledged
    assert len(missed) <= 1 + len(points) // 50, missed


def status_of_start(witness: Witness, point: Point) -> int:
    """Return the exit status of a listener that is killed before it is ready; 0 if it did not reach the crash point."""
    try:
        witness.start(*build_killing_command(point)).kill()
    except NotReady as ended:
        return ended.status
    return 0


def group_points(points: list[Point]) -> dict[tuple[int, str, str], list[Point]]:
    groups: dict[tuple[int, str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.thread, point.call, point.target), []).append(point)
    return groups


def print_points(phase: str, points: list[Point]) -> None:
    """Print the matrix; pytest shows it with -s."""
    lines = [f"\n{phase}: {len(points)} points"]
    for (thread, call, target), points_of_kind in group_points(points).items():
        lines.append(f"  thread {thread} {call:16}{target:30}{len(points_of_kind):6}")
    print(*lines, sep="\n")  # noqa: T201  output of the test


def test_nothing_is_lost_at_a_point_of_each_important_kind(witness: Witness) -> None:
    sample: dict[tuple[str, str], Point] = {}
    for points in group_points(record_points_under_load(witness)).values():
        point = points[len(points) // 2]
        if point.call in SAMPLED:
            sample.setdefault((point.call, point.target), point)
    assert len(sample) > 2
    assert witness.has_postgres or ("pwrite64", "inbox.sqlite3") in sample, "no checkpoint"
    kill_under_load(list(sample.values()), witness)
    witness.conclude(hurry=True)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_nothing_is_lost_at_any_point_under_load(witness: Witness) -> None:
    points = record_points_under_load(witness, min_points=200)
    print_points("under load", points)
    kill_under_load(points, witness)
    witness.conclude()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_is_lost_when_a_first_start_is_killed_at_any_point(
    tmp_path: Path, receiver: Receiver, store: Callable[[Path], str]
) -> None:
    def fresh(name: str) -> Witness:
        return Witness(tmp_path / name, receiver, store(tmp_path / name))

    fresh("count").start(*build_recording_command(tmp_path / "trace")).kill()
    points = read_startup_points(tmp_path / "trace")
    print_points("first start", points)
    for number, point in enumerate(points):
        witness = fresh(str(number))
        assert status_of_start(witness, point) == KILLED
        listener = witness.start()
        witness.load(listener, point, message_count=1)
        witness.check_store(listener)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_is_lost_when_a_start_after_a_kill_is_killed_at_any_point(witness: Witness, tmp_path: Path) -> None:
    def run_and_kill(name: object) -> None:
        listener = witness.start()
        witness.see(listener)
        witness.load(listener, name)
        listener.kill()

    run_and_kill("before")
    witness.start(*build_recording_command(tmp_path / "trace")).kill()
    points = read_startup_points(tmp_path / "trace")
    print_points("start after a kill", points)
    ends = Counter[int]()
    for point in points:
        run_and_kill(point)
        ends[status_of_start(witness, point)] += 1
    witness.conclude()
    assert set(ends) <= {KILLED, 0}
    assert ends[KILLED] > len(points) * 0.8, "too few crash points of the recovery were reached"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_is_lost_when_a_stop_is_killed_at_any_point(witness: Witness) -> None:
    witness.program = ()  # without a checkpoint before the stop
    listener = witness.start()
    witness.warm(listener, "before")
    witness.load(listener, "before")
    with record_points(listener, witness.folder) as points:
        assert listener.stop() == 0
    print_points("stop", points)
    ends = Counter[int]()
    for point in points:
        listener = witness.start()
        witness.warm(listener, point)
        witness.load(listener, point)
        with kill_at(listener, point):
            ends[listener.stop()] += 1
    witness.conclude()
    assert set(ends) <= {KILLED, 0}
    assert ends[KILLED] > len(points) * 0.3, "too few crash points of the stop were reached"
