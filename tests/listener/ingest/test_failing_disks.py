"""Full, read-only and broken disks, and a clock that is set back: no acknowledged message is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.crash_points import fail_calls
from tests.support.forwarding_harness import build_sink, read_metric
from tests.support.listener_process import ACCOUNT, ListenerProcess, NotReady, build_text_callback
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver
from thingspace_provider.listener.callback_parser import parse_body
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.sqlite.store import SqliteStore

Start = Callable[..., ListenerProcess]
BALLAST = 1_000_000
MOVABLE_CLOCK = """
import pathlib, sys, time
from thingspace_provider.cli import main
offset, real = pathlib.Path(sys.argv[1]), time.time_ns
time.time_ns = lambda: real() + int(offset.read_text()) * 10**9
time.time = lambda: time.time_ns() / 10**9
del sys.argv[1:5]
main()
"""
HOUR = 3600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if mount_error := mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)):
        pytest.skip(f"a small disk cannot be mounted here: {mount_error}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments: str) -> str:
    """What went wrong, or nothing."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr


def fill(listener: ListenerProcess) -> list[str]:
    """Send messages until one is rejected. Returns the acknowledged ones."""
    acknowledged: list[str] = []
    for number in range(2000):
        status = listener.post(build_text_callback(f"T={number}", comment="x" * 6000)).status_code
        if status != 200:
            assert status == 503
            return acknowledged
        acknowledged.append(f"T={number}")
    raise AssertionError("the disk was never full")


def test_full_disk_rejects_callbacks_keeps_acknowledged_ones_and_needs_no_restart(
    start: Start, small_disk: Path
) -> None:
    store = f"sqlite:///{small_disk / 'inbox.sqlite3'}"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    listener = start(store=store)
    acknowledged = fill(listener)

    for _ in range(5):
        begun = time.monotonic()
        assert listener.post(build_text_callback("rejected", comment="x" * 6000)).status_code == 503
        # ThingSpace sends a callback again when it has no response after about 4 s.
        assert time.monotonic() - begun < 4
    assert listener.get("/readyz").status_code == 503
    assert listener.get("/healthz").status_code == 200
    assert listener.message_texts() == acknowledged
    ballast.unlink()
    assert listener.post(build_text_callback("after")).status_code == 200
    listener.kill()
    assert start(store=store).message_texts() == [*acknowledged, "after"]


def test_acknowledged_messages_survive_a_kill_on_a_full_disk(start: Start, small_disk: Path) -> None:
    store = f"sqlite:///{small_disk / 'inbox.sqlite3'}"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    listener = start(store=store)
    acknowledged = fill(listener)
    listener.kill()
    try:
        start(store=store).kill()
    except NotReady as ended:  # it may find no room for its own files
        line = str(ended).splitlines()[-1]
        if f"Error: {small_disk / 'inbox.sqlite3'} cannot be used as a store: " not in line:
            raise
    ballast.unlink()
    assert start(store=store).message_texts() == acknowledged


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(("call", "error"), [("pwrite64", "EROFS"), ("pwrite64", "EIO"), ("fdatasync", "EIO")])
def test_store_that_becomes_read_only_or_fails_rejects_and_recovers(start: Start, call: str, error: str) -> None:
    listener = start()
    assert listener.post(build_text_callback("before")).status_code == 200
    with fail_calls(listener, call, error):
        for number in range(3):
            assert listener.post(build_text_callback(f"refused {number}")).status_code == 503
        assert listener.get("/readyz").status_code == 503
        assert listener.message_texts() == ["before"]
    assert listener.post(build_text_callback("after")).status_code == 200
    listener.kill()
    assert start().message_texts() == ["before", "after"]


def test_a_store_on_a_read_only_disk_is_reported_in_one_line(start: Start, small_disk: Path) -> None:
    store = f"sqlite:///{small_disk / 'inbox.sqlite3'}"
    listener = start(store=store)
    assert listener.post(build_text_callback("kept")).status_code == 200
    listener.kill()
    if mount_error := mount("-o", "remount,ro", str(small_disk)):
        pytest.skip(f"a disk cannot be made read-only here: {mount_error}")
    with pytest.raises(NotReady) as ended:
        start(store=store)
    assert ended.value.status == 1
    assert f"{small_disk / 'inbox.sqlite3'} cannot be used as a store: Read-only" in str(ended.value).splitlines()[-1]
    assert not mount("-o", "remount,rw", str(small_disk))
    assert start(store=store).message_texts() == ["kept"]


def test_no_message_is_lost_hidden_or_delayed_when_the_clock_is_set_back(
    start: Start, receiver: Receiver, tmp_path: Path
) -> None:
    """The listener's process reads a clock that this test moves; nothing else about it differs."""
    offset = tmp_path / "offset"

    def move_clock(seconds: int) -> None:
        """At once: a file that is being written is empty for a moment."""
        scratch = tmp_path / "offset.new"
        scratch.write_text(str(seconds))
        scratch.replace(offset)

    move_clock(0)
    clock = (sys.executable, "-c", MOVABLE_CLOCK, str(offset))
    receiver.responder = lambda _: (500, {})
    sinks = [build_sink(receiver)]
    listener = start(before=clock, sinks=sinks)
    assert listener.post(build_text_callback("first")).status_code == 200
    wait_until(
        lambda: read_metric(listener, "thingspace_deliveries_total", outcome="failed") > 0, 60, "a delivery fails"
    )
    move_clock(-HOUR)
    for message in ("second", "second", "first"):
        assert listener.post(build_text_callback(message)).status_code == 200
    receiver.responder = lambda _: (204, {})
    receiver.wait_for("first", "second")
    listener.kill()
    listener = start(before=clock, sinks=sinks)
    assert listener.post(build_text_callback("third")).status_code == 200
    messages = listener.messages()
    assert [message["text"] for message in messages] == ["first", "second", "second", "first", "third"]
    assert [message["duplicateOf"] for message in messages] == [None, None, "2", None, None]
    assert [int(message["id"]) for message in messages] == [1, 2, 3, 4, 5]
    assert messages[1]["receivedAt"] < messages[0]["receivedAt"]


@pytest.mark.long
def test_a_backlog_of_100000_messages_delays_no_response(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "inbox.sqlite3", ["hub"])
    now = time.time_ns() // 1000
    for batch in range(100):
        numbers = range(batch * 1000, batch * 1000 + 1000)
        bodies = [
            json.dumps(build_text_callback(f"T={number}", device=f"555{number % 5000:07}")).encode()
            for number in numbers
        ]
        moment = now - (99 - batch) * 61_000_000  # so that a start has not all of them to compare with
        store.append([IncomingCallback(ACCOUNT, moment, parse_body(body).to_callback()) for body in bodies])
    store.close()
    listener = start(sinks=[build_sink(receiver)])
    for number in range(20):
        assert listener.post(build_text_callback(f"new {number}")).status_code == 200  # it would be 503 after 1.8 s
    receiver.wait(lambda there: len(there.accepted) > 1000, 60)
