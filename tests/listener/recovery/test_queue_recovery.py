"""Queue recovery after an outage, a rejected callback, and at its interval, with the emulator."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime

import apsw
import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.listener_process import API_TOKEN, ListenerProcess, build_text_callback, reserve_port
from tests.support.recovery_harness import (
    MODES,
    build_recovery_settings,
    count_recovery_runs,
    has_all_messages,
    has_more_messages_than,
    has_recovered,
    read_events,
    register,
)
from tests.support.waiting import wait_until
from thingspace_provider.api import ThingSpaceClient

Start = Callable[..., ListenerProcess]


@pytest.mark.parametrize("mode", [pytest.param("startCallbacks", marks=pytest.mark.long), "history"])
def test_messages_that_were_queued_while_the_listener_was_down_are_stored_after_a_start(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient, mode: str
) -> None:
    first = start(port=reserve_port())
    register(thingspace, first)
    first.stop()
    expected = [f"queued {number} é \U0001f321" for number in range(103 if mode == "history" else 3)]
    for message in expected:
        any_port_emulator.send_message(message)
    wait_until(lambda: any_port_emulator.count_queued() == len(expected), 60, "all messages are queued")
    queued = any_port_emulator.control("GET", "queue", accountName=ACCOUNT)["messages"]
    listener = start(port=first.port, **build_recovery_settings(any_port_emulator, mode))
    wait_until(has_all_messages(listener, expected), 60, "the listener stores all messages")
    assert sorted(listener.message_texts()) == sorted(expected)
    wait_until(lambda: any_port_emulator.count_queued() == 0, 60, "the queue is empty")
    wait_until(has_recovered(listener, 1), 60, "recovery run 1 ends")
    assert listener.get("/readyz").json() == {"status": "ok", "reason": "", "recovery": "on", "settings": "ok"}
    metrics = listener.get("/metrics").text.splitlines()
    assert 'thingspace_recovery_runs_total{result="completed"} 1.0' in metrics
    assert f"thingspace_recovery_messages_total {103.0 if mode == 'history' else 0.0}" in metrics
    if mode == "history":  # stored as the queue has it
        first_stored = listener.messages(kind="text")[0]
        first_queued = next(entry for entry in queued if entry["message"] == first_stored["text"])
        assert first_stored["devices"] == [
            {"kind": device_id["kind"], "id": device_id["id"]} for device_id in first_queued["deviceIds"]
        ]
        received_at = datetime.fromisoformat(first_queued["receivedAt"].replace("Z", "+00:00"))
        stored_timestamp = datetime.fromisoformat(json.loads(first_stored["body"])["timestamp"])
        assert stored_timestamp == received_at.replace(microsecond=0)  # ThingSpace's samples have whole seconds
        assert (first_stored["duplicateOf"], first_stored["requestId"]) == (None, None)


def test_a_wrong_password_is_tried_once_and_messages_are_still_stored(
    start: Start, any_port_emulator: EmulatorProcess
) -> None:
    wrong = build_recovery_settings(any_port_emulator, "startCallbacks")
    wrong["thingspaceCredentials"] = {**wrong["thingspaceCredentials"], "password": "sentinel-wrong"}
    listener = start(**wrong)
    wait_until(lambda: listener.get("/readyz").json()["recovery"] == "stopped", 60, "recovery is stopped")
    assert listener.get("/readyz").status_code == 200
    assert listener.post(build_text_callback("still stored")).status_code == 200
    listener.post(build_text_callback("rejected", password="wrong"))  # requests a run
    assert "thingspace_recovery_stopped 1.0" in listener.get("/metrics").text.splitlines()
    listener.stop()
    again = start(**wrong)
    wait_until(lambda: again.get("/readyz").json()["recovery"] == "stopped", 60, "recovery is stopped")
    again.write(**wrong)
    again.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(read_events(again, "settings_reloaded")) == 1, 60, "the listener reloads its settings")
    assert again.get("/readyz").json()["recovery"] == "stopped"
    assert any_port_emulator.count_calls()["login"] == 1
    [stopped, *_] = read_events(again, "recovery_stopped")
    assert "logging in to ThingSpace as emulator-user" in stopped["error"]
    any_port_emulator.send_message("queued")
    again.write(**build_recovery_settings(any_port_emulator, "history"))
    again.process.send_signal(signal.SIGHUP)
    wait_until(has_all_messages(again, ["still stored", "queued"]), 60, "the listener stores all messages")
    assert again.get("/readyz").json()["recovery"] == "on"
    for secret in (
        "sentinel-wrong",
        any_port_emulator.ready["password"],
        any_port_emulator.ready["appSecret"],
        any_port_emulator.ready["appKey"],
    ):
        assert secret not in again.log.read_text()


def test_a_rejected_login_is_known_after_a_restart_when_only_the_store_persists(
    start: Start, any_port_emulator: EmulatorProcess
) -> None:
    """As in a container without a persistent or writable state directory."""
    wrong = build_recovery_settings(any_port_emulator, "startCallbacks")
    wrong["thingspaceCredentials"] = {**wrong["thingspaceCredentials"], "password": "sentinel-wrong"}
    for _ in range(2):
        listener = start(**wrong, before=("env", "XDG_STATE_HOME=/proc/nowhere"))
        wait_until(lambda: listener.get("/readyz").json()["recovery"] == "stopped", 60, "recovery is stopped")  # noqa: B023
        listener.stop()
    assert any_port_emulator.count_calls()["login"] == 1


def test_a_queued_message_is_a_duplicate_when_the_responses_to_its_callbacks_were_lost(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    first = start(port=reserve_port())
    register(thingspace, first)
    any_port_emulator.control("POST", "faults", {"operation": "delivery", "drop": "after", "times": 2})
    any_port_emulator.send_message("T=1")
    wait_until(lambda: any_port_emulator.count_queued() == 1, 60, "one message is queued")
    first.kill()
    listener = start(port=first.port, **build_recovery_settings(any_port_emulator, "history"))
    wait_until(lambda: any_port_emulator.count_queued() == 0, 60, "the queue is empty")
    posted, *_, fetched = listener.messages(kind="text")
    assert "timestamp" in json.loads(fetched["body"])
    assert (posted["duplicateOf"], fetched["duplicateOf"]) == (None, posted["id"])


@pytest.mark.long
def test_a_rejected_message_is_recovered_after_a_reload_with_its_password(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    listener = start(**build_recovery_settings(any_port_emulator, "startCallbacks"))
    wait_until(has_recovered(listener, 1), 60, "recovery run 1 ends")
    register(thingspace, listener, password="invented-password-2")
    any_port_emulator.send_message("sent with a password that is not known yet")
    wait_until(lambda: any_port_emulator.count_queued() == 1, 60, "one message is queued")
    assert listener.message_texts() == []
    listener.write(
        port=listener.port,
        **build_recovery_settings(any_port_emulator, "startCallbacks", password="invented-password-2"),
    )
    listener.process.send_signal(signal.SIGHUP)
    wait_until(
        has_all_messages(listener, ["sent with a password that is not known yet"]),
        60,
        "the listener stores 'sent with a password that is not known yet'",
    )
    assert any_port_emulator.count_queued() == 0


@pytest.mark.long
def test_a_message_is_recovered_when_the_store_works_again(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    """For the writer, a connection that holds the write lock is like a failing disk."""
    listener = start(**build_recovery_settings(any_port_emulator, "startCallbacks"))
    register(thingspace, listener)
    wait_until(has_recovered(listener, 1), 60, "recovery run 1 ends")
    blocker = apsw.Connection(str(listener.folder / "inbox.sqlite3"))
    blocker.set_busy_timeout(20_000)
    blocker.execute("BEGIN IMMEDIATE")
    any_port_emulator.send_message("came while the disk failed")
    wait_until(lambda: any_port_emulator.count_queued() == 1, 60, "one message is queued")
    calls = any_port_emulator.count_calls()["startCallbacks"]
    assert calls == count_recovery_runs(listener) == 1  # no run starts while the store fails
    blocker.execute("ROLLBACK")
    wait_until(
        has_all_messages(listener, ["came while the disk failed"]),
        60,
        "the listener stores 'came while the disk failed'",
    )
    wait_until(has_recovered(listener, 2), 60, "recovery run 2 ends")
    runs_before = count_recovery_runs(listener)
    blocker.execute("BEGIN IMMEDIATE")
    wait_until(lambda: listener.get("/readyz").status_code == 503, 60, "the listener is not ready")
    blocker.execute("ROLLBACK")  # no callback was rejected: load balancers send none to a listener that is not ready
    blocker.close()
    wait_until(lambda: listener.get("/readyz").status_code == 200, 60, "the listener is ready")
    wait_until(has_recovered(listener, runs_before + 1), 60, "the next recovery run ends")


@pytest.mark.long
def test_recovery_runs_less_often_while_callbacks_are_rejected(
    start: Start, any_port_emulator: EmulatorProcess
) -> None:
    listener = start(**build_recovery_settings(any_port_emulator, "startCallbacks", recoveryDelaySeconds=0.5))
    wait_until(
        lambda: (
            listener.post(build_text_callback(password="wrong")).status_code == 403
            and count_recovery_runs(listener) == 4
        ),
        120,
        "a rejected callback causes recovery run 4",
    )
    times = [line["time"].replace("Z", "+00:00") for line in read_events(listener, "recovery_completed")]
    moments = [datetime.fromisoformat(time) for time in times]
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments)]
    assert [pause > min_seconds for pause, min_seconds in zip(pauses, (2.5, 5, 10), strict=True)] == [True] * 3, pauses


@pytest.mark.long
@pytest.mark.parametrize("final", ["location", "auto", "never"])
def test_the_last_page_is_stored_once_however_it_is_acknowledged(
    start: Start, any_port_emulator: EmulatorProcess, final: str
) -> None:
    any_port_emulator.control("PUT", "switches", {"lastPage": final})
    for number in range(103):
        any_port_emulator.send_message(f"text {number}")
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    expected = [f"text {number}" for number in range(103)]
    wait_until(has_recovered(listener, 1), 60, "recovery run 1 ends")
    assert listener.message_texts() == expected
    for times in (2, 3):
        listener.post(build_text_callback(password="wrong"))
        wait_until(has_recovered(listener, times), 60, "the expected recovery runs end")
        assert listener.message_texts() == expected
    any_port_emulator.send_message("one more")
    listener.post(build_text_callback(password="wrong"))
    wait_until(has_recovered(listener, 4), 60, "recovery run 4 ends")
    messages = listener.messages()
    unique = [message["text"] for message in messages if message["duplicateOf"] is None]
    assert unique == [*expected, "one more"]
    assert len(messages) == 104
    listener.stop()
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    wait_until(has_recovered(listener, 5), 60, "recovery run 5 ends")
    messages = listener.messages()
    unique = [message["text"] for message in messages if message["duplicateOf"] is None]
    assert unique == [*expected, "one more"]
    assert len(messages) == (105 if final == "never" else 104)  # a new process detects duplicates, but not the page
    assert listener.get("/readyz").json()["recovery"] == "on"


@pytest.mark.parametrize("end", [False, True])
def test_a_page_is_retained_until_the_store_accepts_it(
    start: Start, any_port_emulator: EmulatorProcess, end: bool
) -> None:
    """ThingSpace can remove the last page when it responds. Then only the listener has it."""
    any_port_emulator.control("PUT", "switches", {"lastPage": "auto"})
    any_port_emulator.send_message("read once")
    any_port_emulator.hold("smsHistory")
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    wait_until(any_port_emulator.is_holding, 60, "the emulator holds the call")
    blocker = apsw.Connection(str(listener.folder / "inbox.sqlite3"))  # for the writer like a failing disk
    blocker.set_busy_timeout(20_000)
    blocker.execute("BEGIN IMMEDIATE")
    any_port_emulator.release()
    delayed = "recovery_commit_delayed"
    wait_until(lambda: read_events(listener, delayed) != [], 60, "the log has the event")
    assert any_port_emulator.count_queued() == 0
    if end:
        listener.process.send_signal(signal.SIGTERM)
    blocker.close()
    if end:
        assert listener.process.wait(60) == 0
        listener = start()
    wait_until(has_all_messages(listener, ["read once"]), 60, "the listener stores 'read once'")
    stored = "recovery_commit_succeeded"
    wait_until(lambda: read_events(listener, stored) != [], 60, "the log has the event")
    assert len(read_events(listener, delayed)) == len(read_events(listener, stored)) == 1


def test_messages_in_a_response_after_sigterm_are_stored(start: Start, any_port_emulator: EmulatorProcess) -> None:
    any_port_emulator.control("PUT", "switches", {"lastPage": "auto"})
    any_port_emulator.send_message("read at the end")
    any_port_emulator.hold("smsHistory")
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    wait_until(any_port_emulator.is_holding, 60, "the emulator holds the call")
    listener.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        listener.process.wait(0.5)
    any_port_emulator.release()
    assert listener.process.wait(60) == 0
    assert start().message_texts() == ["read at the end"]


@pytest.mark.parametrize("final", ["location", "auto"])
def test_two_equal_pages_are_both_stored(start: Start, any_port_emulator: EmulatorProcess, final: str) -> None:
    any_port_emulator.control("PUT", "switches", {"lastPage": final})
    any_port_emulator.control("POST", "clock", {"frozen": True})
    any_port_emulator.control("POST", "messages", {"accountName": ACCOUNT, "message": "OK", "repeat": 200})
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    wait_until(has_recovered(listener, 1), 60, "recovery run 1 ends")
    assert len(listener.message_texts()) == 200
    listener.post(build_text_callback(password="wrong"))
    wait_until(lambda: any_port_emulator.count_queued() == 0, 60, "the queue is empty")
    wait_until(has_recovered(listener, 2), 60, "recovery run 2 ends")
    assert len(listener.message_texts()) == 200


@pytest.mark.parametrize("mode", MODES)
def test_recovery_is_postponed_while_the_disk_is_too_full(
    start: Start, any_port_emulator: EmulatorProcess, mode: str
) -> None:
    any_port_emulator.send_message("waits")
    listener = start(**build_recovery_settings(any_port_emulator, mode), minFreeDiskSpace="99%")
    event = "recovery_postponed"
    wait_until(lambda: len(read_events(listener, event)) == 1, 60, "the log has the event")
    assert listener.get("/readyz").status_code == 503
    reasons = (read_events(listener, event)[0]["error"], listener.get("/readyz").json()["reason"])
    assert len({re.sub("[0-9.]+", "…", error) for error in reasons}) == 1  # other processes write to the disk
    assert any_port_emulator.count_calls() == {}
    listener.stop()
    wait_until(has_recovered(start(**build_recovery_settings(any_port_emulator, mode)), 1), 60, "recovery run 1 ends")


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_no_queued_message_is_lost_when_the_listener_is_killed_during_recovery(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient, mode: str
) -> None:
    first = start(port=reserve_port())
    register(thingspace, first)
    first.stop()
    expected = {f"queued {number}" for number in range(1000)}
    for message in sorted(expected):
        any_port_emulator.send_message(message)
    wait_until(
        lambda: any_port_emulator.control("GET", "queue", accountName=ACCOUNT)["count"] == 1000,
        60,
        "1000 messages are queued",
    )
    for kill in range(4):
        listener = start(port=first.port, **build_recovery_settings(any_port_emulator, mode))
        wait_until(has_more_messages_than(listener, 150 * kill + 50), 30, "the listener stores more messages")
        listener.kill()
    listener = start(port=first.port, **build_recovery_settings(any_port_emulator, mode))
    wait_until(has_all_messages(listener, sorted(expected)), 60, "the listener stores all messages")
    assert set(listener.message_texts()) == expected
    if mode == "history":  # messages of a page that was not acknowledged are duplicates
        unique = [message["text"] for message in listener.messages() if message["duplicateOf"] is None]
        assert sorted(unique) == sorted(expected)


@pytest.mark.long
def test_recovery_runs_at_its_interval_without_another_reason(start: Start, any_port_emulator: EmulatorProcess) -> None:
    listener = start(**build_recovery_settings(any_port_emulator, "history", recoveryIntervalSeconds=6))
    wait_until(has_recovered(listener, 1), 60, "recovery run 1 ends")
    any_port_emulator.send_message("queued without a callback")
    wait_until(
        has_all_messages(listener, ["queued without a callback"]),
        60,
        "the listener stores 'queued without a callback'",
    )


@pytest.mark.long
@pytest.mark.parametrize("operation", ["token", "smsHistory"])  # a failed login can be a wrong password
def test_a_failed_recovery_run_is_retried(start: Start, any_port_emulator: EmulatorProcess, operation: str) -> None:
    any_port_emulator.send_message("waits")
    any_port_emulator.add_fault(operation, 404, "<html>not ours</html>")
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    wait_until(has_all_messages(listener, ["waits"]), 60, "the listener stores 'waits'")
    [failed] = read_events(listener, "recovery_failed")
    assert ACCOUNT in failed["account"]
    assert API_TOKEN not in listener.log.read_text()


def test_recovery_does_not_run_unless_it_is_enabled(start: Start, any_port_emulator: EmulatorProcess) -> None:
    listener = start(**build_recovery_settings(any_port_emulator, "off"))
    listener.post(build_text_callback(password="wrong"))
    assert listener.get("/readyz").json()["recovery"] == "off"
    assert listener.stop() == 0
    assert any_port_emulator.count_calls() == {}
