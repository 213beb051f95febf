"""The listener is killed at every point at which it writes, sends or syncs anything: no acknowledged text is lost."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from crash_points import Point, armed, killing, recorded, recording, started, unusable
from listener_process import ListenerProcess, NotReady, text
from senders import Senders

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())

# The same listener, with a log so short that a small load makes it copy the log into the database again and again.
SHORT_LOG = """
import sys
from thingspace_provider.cli import main
from thingspace_provider.listener import sqlite_writing
sqlite_writing.PAGES_IN_WAL = 20
del sys.argv[1:4]
main()
"""
LISTENER = (sys.executable, "-c", SHORT_LOG)
CONNECTIONS = 6
EACH = 10
KILLED = -signal.SIGKILL


class Witness:
    """Remembers what was acknowledged and what was read, over all lives of one inbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.acknowledged: list[str] = []
        self._read: list[tuple[str, str]] = []

    def start(self, *before: str) -> ListenerProcess:
        return ListenerProcess(self.folder, before=(*before, *LISTENER))

    def see(self, listener: ListenerProcess) -> None:
        """Read on from where the last life was left; all that was acknowledged must have been seen by now."""
        after = self._read[-1][0] if self._read else "0"
        while page := listener.answer(after=after, limit=1000)["messages"]:
            self._read += [(message["id"], message["text"]) for message in page]
            after = page[-1]["id"]
        kept = Counter(message for _, message in self._read)
        assert [message for message in self.acknowledged if kept[message] != 1] == []

    def see_all_again(self, listener: ListenerProcess) -> None:
        """What was read once is still the same, from the first text on, and the file is sound."""
        assert [(message["id"], message["text"]) for message in listener.messages()] == self._read
        with apsw.Connection(str(self.folder / "inbox.sqlite3")) as database:
            assert database.pragma("integrity_check") == "ok"


def kill_under_load(witness: Witness, listener: ListenerProcess, point: Point) -> None:
    with armed(listener, point):
        senders = Senders(listener, str(point), CONNECTIONS)
        assert listener.process.wait(30) == KILLED
        senders.wait()
    listener.kill()
    witness.acknowledged += senders.acknowledged


def points_under_load(witness: Witness, folder: Path) -> list[Point]:
    listener = witness.start()
    witness.see(listener)  # so that the thread that reads has begun, and holds the log while it is copied
    with recorded(listener, folder) as points:
        senders = Senders(listener, "count", CONNECTIONS, EACH)
        senders.wait()
    listener.kill()
    witness.acknowledged += senders.acknowledged
    assert len(senders.acknowledged) == CONNECTIONS * EACH
    return points


def kill_at(points: list[Point], witness: Witness) -> None:
    """One life after the other, each ended at its point under load; each begins with what the last one left."""
    for point in points:
        listener = witness.start()
        witness.see(listener)
        kill_under_load(witness, listener, point)
    last = witness.start()
    witness.see(last)
    witness.see_all_again(last)
    last.kill()


def kinds(points: list[Point]) -> dict[tuple[int, str, str], list[Point]]:
    sorts: dict[tuple[int, str, str], list[Point]] = {}
    for point in points:
        sorts.setdefault((point.thread, point.call, point.target), []).append(point)
    return sorts


def a_life_before(folder: Path) -> Witness:
    """An inbox whose listener was killed under load, so that its log has to be recovered."""
    witness = Witness(folder)
    listener = witness.start()
    senders = Senders(listener, "before", CONNECTIONS)
    while len(senders.acknowledged) < 200:
        time.sleep(0.001)
    listener.kill()
    senders.wait()
    witness.acknowledged += senders.acknowledged
    return witness


def copied(witness: Witness, folder: Path) -> Witness:
    """The same inbox once more, to be killed in another way."""
    folder.mkdir()
    for file in witness.folder.glob("inbox.sqlite3*"):
        shutil.copy(file, folder)
    copy = Witness(folder)
    copy.acknowledged += witness.acknowledged
    return copy


def goes_on(witness: Witness) -> None:
    """A listener starts on what was left, has everything, and takes more."""
    listener = witness.start()
    witness.see(listener)
    assert listener.post(text("afterwards")).status_code == 200
    witness.acknowledged.append("afterwards")
    witness.see(listener)
    witness.see_all_again(listener)
    listener.kill()


def end_of_start(witness: Witness, point: Point) -> int:
    """The exit status of a listener that is to be killed before it is ready; 0 when it never came to the point."""
    try:
        witness.start(*killing(point)).kill()
    except NotReady as ended:
        return ended.status
    return 0


def killed_at_start(points: list[Point], inbox: Callable[[Point], Witness]) -> list[Point]:
    """The points at which one listener each was killed; another one went on with what it left."""
    killed = []
    for point in points:
        witness = inbox(point)
        if end_of_start(witness, point) == KILLED:
            killed.append(point)
        goes_on(witness)
        shutil.rmtree(witness.folder)
    return killed


def test_no_acknowledged_text_is_lost_at_one_point_of_each_kind(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    points = points_under_load(witness, tmp_path)
    kill_at([points[len(points) // 2] for points in kinds(points).values()], witness)
    assert len(witness.acknowledged) > CONNECTIONS * EACH, "no text was acknowledged in a life that was cut short"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_acknowledged_text_is_lost_at_any_point_under_load(tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    points = points_under_load(witness, tmp_path)
    tell("under load", points)
    assert len(points) >= 200
    kill_at(points, witness)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_first_start_may_be_killed_at_any_point(tmp_path: Path) -> None:
    (tmp_path / "count").mkdir()
    Witness(tmp_path / "count").start(*recording(tmp_path / "trace")).kill()
    points = started(tmp_path / "trace")
    tell("first start", points)

    def fresh(point: Point) -> Witness:
        folder = tmp_path / str(points.index(point))
        folder.mkdir()
        return Witness(folder)

    assert killed_at_start(points, fresh) == points


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_start_that_recovers_the_log_may_be_killed_at_any_point(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = a_life_before(tmp_path / "before")
    copied(before, tmp_path / "count").start(*recording(tmp_path / "trace")).kill()
    points = started(tmp_path / "trace")
    tell("start on a log", points)
    assert killed_at_start(points, lambda point: copied(before, tmp_path / str(points.index(point)))) == points


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_stop_may_be_killed_at_any_point(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = a_life_before(tmp_path / "before")
    counted = copied(before, tmp_path / "count").start()
    with recorded(counted, tmp_path) as points:
        assert counted.stop() == 0
    tell("stop", points)
    ends = Counter[int]()
    for number, point in enumerate(points):
        witness = copied(before, tmp_path / str(number))
        listener = witness.start()
        with armed(listener, point):
            ends[listener.stop()] += 1
        goes_on(witness)
        shutil.rmtree(witness.folder)
    assert set(ends) <= {KILLED, 0}
    assert ends[0] <= 1, "only the note of the signal may be made by another thread than the last time"


def tell(phase: str, points: list[Point]) -> None:
    """The matrix, for whoever runs it with -s."""
    lines = [f"\n{phase}: {len(points)} points"]
    lines += [
        f"  thread {thread} {call:16}{target:30}{len(found):6}"
        for (thread, call, target), found in kinds(points).items()
    ]
    print(*lines, sep="\n")  # noqa: T201  figures, not an oversight
