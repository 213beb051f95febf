"""What was answered with 200 is there, whatever happens next."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.load_senders import LoadSenders

Start = Callable[..., ListenerProcess]
KILLS = 6


def test_no_acknowledged_text_is_lost_when_the_listener_is_killed_under_load(start: Start) -> None:
    acknowledged: list[str] = []
    for kill in range(KILLS):
        listener = start()
        senders = LoadSenders(listener, str(kill))
        while len(senders.acknowledged) < 40 * (kill + 1):
            time.sleep(0.001)
        listener.kill()
        senders.wait()
        acknowledged += senders.acknowledged
    stored = start().message_texts()
    assert len(acknowledged) >= sum(40 * (kill + 1) for kill in range(KILLS))
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def test_no_text_that_was_under_way_is_cut_off_by_a_stop(start: Start) -> None:
    listener = start()
    senders = LoadSenders(listener, "stop")
    while len(senders.acknowledged) < 100:
        time.sleep(0.001)
    assert listener.stop() == 0
    senders.wait()
    assert sorted(start().message_texts()) == sorted(senders.acknowledged)


def test_ids_go_on_after_a_restart(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("before"))
    listener.kill()
    listener = start()
    listener.post(build_text_callback("after"))
    assert [(message["id"], message["text"]) for message in listener.messages()] == [("1", "before"), ("2", "after")]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_each_200_is_written_after_the_sync_of_its_commit(start: Start, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    options = ("strace", "-D", "-f", "-tt", "-s", "64", "-y", "-e", "trace=fdatasync,fsync,pwrite64,sendto,write", "-o")
    listener = start(before=(*options, str(trace)))
    for number in range(20):
        assert listener.post(build_text_callback(f"ordered {number}")).status_code == 200
    assert listener.stop() == 0
    while "+++ exited with 0 +++" not in trace.read_text():  # the tracer writes its last lines after the end
        time.sleep(0.01)
    happened = re.findall(
        r"(?P<wal>pwrite64\(\d+<[^>]*-wal>)"
        r"|(?P<sync>f(?:data)?sync\(\d+<[^>]*-wal>\)\s+= 0|<\.\.\. f(?:data)?sync resumed>.*= 0)"
        r"|(?P<answer>HTTP/1\.1 200 OK)",
        trace.read_text(),
    )
    order = ["wal" if wal else "sync" if sync else "answer" for wal, sync, _ in happened]
    responses = [at for at, event in enumerate(order) if event == "answer"]
    assert len(responses) == 20
    for before, response in zip([-1, *responses], responses, strict=False):
        between = order[before + 1 : response]
        assert "wal" in between
        assert between[-1] == "sync", "written to the log after its last sync, or not synced at all"


@pytest.mark.parametrize("flavour", ["a folder", "no folder at all", "not a database", "of a newer version"])
def test_a_store_that_cannot_be_used_is_reported_in_one_line(tmp_path: Path, start: Start, flavour: str) -> None:
    store = tmp_path / "inbox.sqlite3"
    if flavour == "a folder":
        store.mkdir()
    elif flavour == "no folder at all":
        (tmp_path / "file").write_text("")
        store = tmp_path / "file" / "inbox.sqlite3"
    elif flavour == "not a database":
        store.write_text("a letter to nobody, of some length" * 100)
    else:
        start().stop()
        import apsw  # noqa: PLC0415  only here

        apsw.Connection(str(store)).execute("PRAGMA user_version = 99")
    with pytest.raises(AssertionError) as ended:
        start(store=f"sqlite:///{store}")
    line = str(ended.value).splitlines()[-1]
    assert line.startswith("Error: ")
    assert str(store) in line


def test_a_store_that_stops_working_is_answered_with_503_and_recovers(start: Start) -> None:
    """A second connection that holds the write lock is what a failing disk looks like to a writer."""
    import apsw  # noqa: PLC0415  only here

    listener = start()
    assert listener.post(build_text_callback("before")).status_code == 200
    blocker = apsw.Connection(str(listener.folder / "inbox.sqlite3"))
    blocker.set_busy_timeout(20_000)
    blocker.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    assert listener.post(build_text_callback("refused")).status_code == 503
    assert listener.get("/readyz").status_code == 503
    assert time.monotonic() - begun < 8
    assert listener.get("/healthz").status_code == 200
    blocker.execute("ROLLBACK")
    blocker.close()
    assert listener.post(build_text_callback("after")).status_code == 200
    assert listener.message_texts() == ["before", "after"]
    time.sleep(1)
    assert listener.get("/readyz").status_code == 200


def test_no_response_takes_longer_than_two_seconds_when_the_store_hangs(start: Start) -> None:
    import apsw  # noqa: PLC0415  only here

    listener = start()
    blocker = apsw.Connection(str(listener.folder / "inbox.sqlite3"))
    blocker.set_busy_timeout(20_000)
    blocker.execute("BEGIN IMMEDIATE")

    def slowest() -> float:
        took = []

        def send(number: int) -> None:
            begun = time.monotonic()
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    listener.url + listener.path(), json=build_text_callback(f"late {number}"), timeout=10
                )
            took.append((response.status_code, time.monotonic() - begun))

        threads = []
        for number in range(8):
            threads.append(threading.Thread(target=send, args=(number,)))
            threads[-1].start()
            time.sleep(0.3)
        for thread in threads:
            thread.join()
        assert [status for status, _ in took] == [503] * 8
        return max(seconds for _, seconds in took)

    assert any(slowest() < 2 for _ in range(5))  # a machine that pauses does so now and then, who hangs each time
    blocker.close()
