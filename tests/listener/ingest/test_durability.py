"""Durability: an acknowledged message survives kills, stops and failures."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.crash_points import delay_calls
from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.load_senders import LoadSenders
from tests.support.waiting import join_thread, wait_until

Start = Callable[..., ListenerProcess]
KILLS = 6
DISK_DELAY_SECONDS = 20


def wait_for_acknowledged(senders: LoadSenders, count: int) -> None:
    """Return within a millisecond of the acknowledgement, while other callbacks are on their way."""
    wait_until(
        lambda: len(senders.acknowledged) >= count, 60, f"{count} messages are acknowledged", interval_seconds=0.001
    )


def test_no_acknowledged_message_is_lost_when_the_listener_is_killed_under_load(start: Start) -> None:
    acknowledged: list[str] = []
    for kill in range(KILLS):
        listener = start()
        senders = LoadSenders(listener, str(kill))
        wait_for_acknowledged(senders, 40 * (kill + 1))
        listener.kill()
        senders.wait()
        acknowledged += senders.acknowledged
    stored = start().message_texts()
    assert len(acknowledged) >= sum(40 * (kill + 1) for kill in range(KILLS))
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))


def test_requests_in_progress_are_answered_when_the_listener_stops(start: Start) -> None:
    listener = start()
    senders = LoadSenders(listener, "stop")
    wait_for_acknowledged(senders, 100)
    assert listener.stop() == 0
    senders.wait()
    assert sorted(start().message_texts()) == sorted(senders.acknowledged)


def test_ids_continue_after_a_restart(start: Start) -> None:
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
    # The tracer writes its last lines after the listener has ended.
    wait_until(lambda: "+++ exited with 0 +++" in trace.read_text(), 60, "strace writes the end of the trace")
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
def test_unusable_store_is_reported_in_one_line(tmp_path: Path, start: Start, flavour: str) -> None:
    store = tmp_path / "inbox.sqlite3"
    if flavour == "a folder":
        store.mkdir()
    elif flavour == "no folder at all":
        (tmp_path / "file").write_text("")
        store = tmp_path / "file" / "inbox.sqlite3"
    elif flavour == "not a database":
        store.write_text("a file that is no database" * 100)
    else:
        start().stop()
        import apsw  # noqa: PLC0415  only here

        apsw.Connection(str(store)).execute("PRAGMA user_version = 99")
    with pytest.raises(AssertionError) as ended:
        start(store=f"sqlite:///{store}")
    line = str(ended.value).splitlines()[-1]
    assert line.startswith("Error: ")
    assert str(store) in line


def test_response_is_503_while_the_store_fails(start: Start) -> None:
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
    wait_until(lambda: listener.get("/readyz").status_code == 200, 20, "the listener is ready")


@pytest.mark.usefixtures("strace")
def test_response_is_503_within_the_deadline_when_the_disk_hangs(start: Start) -> None:
    listener = start()
    responses: list[tuple[int, float]] = []

    def send(number: int) -> None:
        begun = time.monotonic()
        with requests.Session() as session:
            session.trust_env = False
            response = session.post(
                listener.url + listener.path(), json=build_text_callback(f"late {number}"), timeout=30
            )
        responses.append((response.status_code, time.monotonic() - begun))

    with delay_calls(listener, "fdatasync", DISK_DELAY_SECONDS):
        threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
        for thread in threads:
            join_thread(thread)
    assert [status for status, _ in responses] == [503] * 8
    # The deadline is 1.8 s. A listener without one responds after the disk, so a slow test machine cannot hide that.
    assert all(1.5 < seconds < DISK_DELAY_SECONDS / 2 for _, seconds in responses), responses
