"""A listener that was down, or refused something, gets by itself what ThingSpace queued meanwhile."""

from __future__ import annotations

import itertools
import json
import re
import signal
from collections.abc import Callable
from datetime import datetime

import apsw
import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess, eventually
from tests.support.listener_process import API_TOKEN, ListenerProcess, quiet_port, text
from tests.support.recovery_harness import MODES, asked, events, has_all, has_asked, has_more_than, heal, register
from thingspace_provider.api import Client

Start = Callable[..., ListenerProcess]


@pytest.mark.parametrize("mode", [pytest.param("startCallbacks", marks=pytest.mark.long), "history"])
def test_texts_that_were_queued_while_the_listener_was_down_are_there_after_a_start(
    start: Start, world: EmulatorProcess, thingspace: Client, mode: str
) -> None:
    first = start(port=quiet_port())
    register(thingspace, first)
    first.stop()
    expected = [f"queued {number} é \U0001f321" for number in range(103 if mode == "history" else 3)]
    for message in expected:
        world.text(message)
    assert eventually(lambda: world.queued() == len(expected))
    queued = world.control("GET", "queue", accountName=ACCOUNT)["messages"]
    listener = start(port=first.port, **heal(world, mode))
    assert eventually(has_all(listener, expected))
    assert sorted(listener.texts()) == sorted(expected)
    assert eventually(lambda: world.queued() == 0)
    assert eventually(has_asked(listener, 1))
    assert listener.get("/readyz").json() == {"status": "ok", "healing": "on"}
    metrics = listener.get("/metrics").text.splitlines()
    assert 'thingspace_queue_asked_total{result="done"} 1.0' in metrics
    assert f"thingspace_queue_texts_fetched_total {103.0 if mode == 'history' else 0.0}" in metrics
    if mode == "history":  # kept as the queue has it
        first_stored = listener.messages(kind="text")[0]
        first_queued = next(entry for entry in queued if entry["message"] == first_stored["text"])
        assert first_stored["devices"] == [{"kind": one["kind"], "id": one["id"]} for one in first_queued["deviceIds"]]
        assert json.loads(first_stored["body"])["timestamp"] == first_queued["timestamp"]
        assert (first_stored["duplicateOf"], first_stored["requestId"]) == (None, None)


def test_a_wrong_password_is_tried_once_and_texts_are_stored_all_the_same(start: Start, world: EmulatorProcess) -> None:
    wrong = heal(world, "startCallbacks")
    wrong["thingspace"] = {**wrong["thingspace"], "password": "sentinel-wrong"}
    listener = start(**wrong)
    assert eventually(lambda: listener.get("/readyz").json()["healing"].startswith("stopped"))
    assert listener.get("/readyz").status_code == 200
    assert listener.post(text("still taken")).status_code == 200
    listener.post(text("refused", password="wrong"))  # a reason to ask, if it could
    assert "thingspace_healing_stopped 1.0" in listener.get("/metrics").text.splitlines()
    listener.stop()
    again = start(**wrong)
    assert eventually(lambda: again.get("/readyz").json()["healing"].startswith("stopped"))
    again.write(**wrong)
    again.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: len(events(again, "settings taken up")) == 1)
    assert again.get("/readyz").json()["healing"].startswith("stopped")
    assert world.calls()["login"] == 1
    [told, *_] = events(again, "no queued texts are asked for until a restart or SIGHUP with other credentials")
    assert "logging in to ThingSpace as emulator-user" in told["reason"]
    world.text("queued")
    again.write(**heal(world, "history"))
    again.process.send_signal(signal.SIGHUP)
    assert eventually(has_all(again, ["still taken", "queued"]))
    assert again.get("/readyz").json()["healing"] == "on"
    for secret in ("sentinel-wrong", world.ready["password"], world.ready["appSecret"], world.ready["appKey"]):
        assert secret not in again.log.read_text()


def test_a_refused_login_is_known_after_a_restart_where_only_the_store_lasts(
    start: Start, world: EmulatorProcess
) -> None:
    """As in a container: the folder of this user's state is new each time, or nobody may write there."""
    wrong = heal(world, "startCallbacks")
    wrong["thingspace"] = {**wrong["thingspace"], "password": "sentinel-wrong"}
    for _ in range(2):
        listener = start(**wrong, before=("env", "XDG_STATE_HOME=/proc/nowhere"))
        assert eventually(lambda: listener.get("/readyz").json()["healing"].startswith("stopped"))  # noqa: B023
        listener.stop()
    assert world.calls()["login"] == 1


def test_a_text_whose_answers_were_lost_is_known_again_when_it_comes_out_of_the_queue(
    start: Start, world: EmulatorProcess, thingspace: Client
) -> None:
    first = start(port=quiet_port())
    register(thingspace, first)
    world.control("POST", "faults", {"operation": "delivery", "drop": "after", "times": 2})
    world.text("T=1")
    assert eventually(lambda: world.queued() == 1)
    first.kill()
    listener = start(port=first.port, **heal(world, "history"))
    assert eventually(lambda: world.queued() == 0)
    posted, *_, fetched = listener.messages(kind="text")
    assert "timestamp" in json.loads(fetched["body"])
    assert (posted["duplicateOf"], fetched["duplicateOf"]) == (None, posted["id"])


@pytest.mark.long
def test_a_text_that_was_refused_comes_once_it_can_be_taken(
    start: Start, world: EmulatorProcess, thingspace: Client
) -> None:
    listener = start(**heal(world, "startCallbacks"))
    assert eventually(has_asked(listener, 1))
    register(thingspace, listener, password="invented-password-2")
    world.text("sent with a password that is not known yet")
    assert eventually(lambda: world.queued() == 1)
    assert listener.texts() == []
    listener.write(port=listener.port, **heal(world, "startCallbacks", password="invented-password-2"))
    listener.process.send_signal(signal.SIGHUP)
    assert eventually(has_all(listener, ["sent with a password that is not known yet"]))
    assert world.queued() == 0


@pytest.mark.long
def test_a_text_that_the_store_could_not_take_comes_once_it_can(
    start: Start, world: EmulatorProcess, thingspace: Client
) -> None:
    """A second connection that holds the write lock is what a failing disk looks like to a writer."""
    listener = start(**heal(world, "startCallbacks"))
    register(thingspace, listener)
    assert eventually(has_asked(listener, 1))
    blocker = apsw.Connection(str(listener.folder / "inbox.sqlite3"))
    blocker.set_busy_timeout(20_000)
    blocker.execute("BEGIN IMMEDIATE")
    world.text("came while the disk failed")
    assert eventually(lambda: world.queued() == 1)
    calls = world.calls()["startCallbacks"]
    assert calls == asked(listener) == 1  # nothing is asked for that could not be stored
    blocker.execute("ROLLBACK")
    assert eventually(has_all(listener, ["came while the disk failed"]))
    assert eventually(has_asked(listener, 2))
    asked_before = asked(listener)
    blocker.execute("BEGIN IMMEDIATE")
    assert eventually(lambda: listener.get("/readyz").status_code == 503)
    blocker.execute("ROLLBACK")  # nobody was refused, because nobody sends to a listener that is not ready
    blocker.close()
    assert eventually(lambda: listener.get("/readyz").status_code == 200)
    assert eventually(has_asked(listener, asked_before + 1))


@pytest.mark.long
def test_who_goes_on_being_refused_makes_it_ask_ever_less(start: Start, world: EmulatorProcess) -> None:
    listener = start(**heal(world, "startCallbacks", healAfterSeconds=0.5))
    assert eventually(lambda: listener.post(text(password="wrong")).status_code == 403 and asked(listener) == 4, 120)
    times = [line["time"].replace("Z", "+00:00") for line in events(listener, "asked for queued texts")]
    moments = [datetime.fromisoformat(time) for time in times]
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments)]
    assert [pause > least for pause, least in zip(pauses, (2.5, 5, 10), strict=True)] == [True] * 3, pauses


@pytest.mark.long
@pytest.mark.parametrize("final", ["location", "auto", "never"])
def test_the_last_block_is_stored_once_however_it_is_acknowledged(
    start: Start, world: EmulatorProcess, final: str
) -> None:
    world.control("PUT", "switches", {"finalBlock": final})
    for number in range(103):
        world.text(f"text {number}")
    listener = start(**heal(world, "history"))
    expected = [f"text {number}" for number in range(103)]
    assert eventually(has_asked(listener, 1))
    assert listener.texts() == expected
    for times in (2, 3):
        listener.post(text(password="wrong"))
        assert eventually(has_asked(listener, times))
        assert listener.texts() == expected
    world.text("one more")
    listener.post(text(password="wrong"))
    assert eventually(has_asked(listener, 4))
    messages = listener.messages()
    unique = [message["text"] for message in messages if message["duplicateOf"] is None]
    assert unique == [*expected, "one more"]
    assert len(messages) == 104
    listener.stop()
    listener = start(**heal(world, "history"))
    assert eventually(has_asked(listener, 5))
    messages = listener.messages()
    unique = [message["text"] for message in messages if message["duplicateOf"] is None]
    assert unique == [*expected, "one more"]
    assert len(messages) == (105 if final == "never" else 104)  # a new process knows it as a duplicate, not as a block
    assert listener.get("/readyz").json()["healing"] == "on"


@pytest.mark.parametrize("end", [False, True])
def test_a_block_that_cannot_be_stored_is_kept_until_it_can(start: Start, world: EmulatorProcess, end: bool) -> None:
    """ThingSpace may forget a last block once it has answered: then the listener alone has it."""
    world.control("PUT", "switches", {"finalBlock": "auto"})
    world.text("read once")
    world.hold("smsHistory")
    listener = start(**heal(world, "history"))
    assert eventually(world.holds)
    blocker = apsw.Connection(str(listener.folder / "inbox.sqlite3"))  # to a writer like a failing disk
    blocker.set_busy_timeout(20_000)
    blocker.execute("BEGIN IMMEDIATE")
    world.release()
    waits = "texts from the queue wait for the store, and nothing else is asked for"
    assert eventually(lambda: events(listener, waits) != [])
    assert world.queued() == 0
    if end:
        listener.process.send_signal(signal.SIGTERM)
    blocker.close()
    if end:
        assert listener.process.wait(60) == 0
        listener = start()
    assert eventually(has_all(listener, ["read once"]))
    stored = "the texts from the queue are stored"
    assert eventually(lambda: events(listener, stored) != [])
    assert len(events(listener, waits)) == len(events(listener, stored)) == 1


def test_what_thingspace_answers_after_sigterm_is_stored(start: Start, world: EmulatorProcess) -> None:
    world.control("PUT", "switches", {"finalBlock": "auto"})
    world.text("read at the end")
    world.hold("smsHistory")
    listener = start(**heal(world, "history"))
    assert eventually(world.holds)
    listener.process.send_signal(signal.SIGTERM)
    assert not eventually(lambda: listener.process.poll() is not None, 0.5)
    world.release()
    assert listener.process.wait(60) == 0
    assert start().texts() == ["read at the end"]


@pytest.mark.parametrize("final", ["location", "auto"])
def test_two_equal_blocks_are_two_blocks(start: Start, world: EmulatorProcess, final: str) -> None:
    world.control("PUT", "switches", {"finalBlock": final})
    world.control("POST", "clock", {"frozen": True})
    world.control("POST", "messages", {"accountName": ACCOUNT, "message": "OK", "repeat": 200})
    listener = start(**heal(world, "history"))
    assert eventually(has_asked(listener, 1))
    assert len(listener.texts()) == 200
    listener.post(text(password="wrong"))
    assert eventually(lambda: world.queued() == 0)
    assert eventually(has_asked(listener, 2))
    assert len(listener.texts()) == 200


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_asked_for_while_the_disk_is_too_full(start: Start, world: EmulatorProcess, mode: str) -> None:
    world.text("waits")
    listener = start(**heal(world, mode), freeSpace="99%")
    told = "queued texts are not asked for now"
    assert eventually(lambda: len(events(listener, told)) == 1)
    assert listener.get("/readyz").status_code == 503
    reasons = (events(listener, told)[0]["reason"], listener.get("/readyz").json()["status"])
    assert len({re.sub("[0-9.]+", "…", reason) for reason in reasons}) == 1  # others write to the disk meanwhile
    assert world.calls() == {}
    listener.stop()
    assert eventually(has_asked(start(**heal(world, mode)), 1))


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_no_queued_text_is_lost_when_the_listener_is_killed_while_it_heals(
    start: Start, world: EmulatorProcess, thingspace: Client, mode: str
) -> None:
    first = start(port=quiet_port())
    register(thingspace, first)
    first.stop()
    expected = {f"queued {number}" for number in range(1000)}
    for message in sorted(expected):
        world.text(message)
    assert eventually(lambda: world.control("GET", "queue", accountName=ACCOUNT)["count"] == 1000, 60)
    for kill in range(4):
        listener = start(port=first.port, **heal(world, mode))
        assert eventually(has_more_than(listener, 150 * kill + 50), 30)
        listener.kill()
    listener = start(port=first.port, **heal(world, mode))
    assert eventually(has_all(listener, sorted(expected)), 60)
    assert set(listener.texts()) == expected
    if mode == "history":  # what was stored but not acknowledged came again, and is known
        unique = [message["text"] for message in listener.messages() if message["duplicateOf"] is None]
        assert sorted(unique) == sorted(expected)


@pytest.mark.long
def test_without_a_reason_the_queue_is_asked_for_now_and_then(start: Start, world: EmulatorProcess) -> None:
    listener = start(**heal(world, "history", healMinutes=0.1))
    assert eventually(has_asked(listener, 1))
    world.text("nobody was told of this one")
    assert eventually(has_all(listener, ["nobody was told of this one"]))


@pytest.mark.long
@pytest.mark.parametrize("operation", ["token", "smsHistory"])  # of a login it may be a wrong password
def test_what_went_wrong_at_thingspace_is_tried_again(start: Start, world: EmulatorProcess, operation: str) -> None:
    world.text("waits")
    world.fault(operation, 404, "<html>not ours</html>")
    listener = start(**heal(world, "history"))
    assert eventually(has_all(listener, ["waits"]))
    [told] = events(listener, "queued texts could not be asked for")
    assert ACCOUNT in told["account"]
    assert API_TOKEN not in listener.log.read_text()


def test_nothing_is_asked_for_unless_healing_is_on(start: Start, world: EmulatorProcess) -> None:
    listener = start(**heal(world, "off"))
    listener.post(text(password="wrong"))
    assert listener.get("/readyz").json()["healing"] == "off"
    assert listener.stop() == 0
    assert world.calls() == {}
