"""Replicas on one PostgreSQL store: one runs recovery, and all together try a wrong password once."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.listener_process import PASSWORD, ListenerProcess, build_text_callback
from tests.support.postgres_server import PostgresServer, open_postgres_store
from tests.support.recovery_harness import (
    MODES,
    build_recovery_settings,
    count_recovery_runs,
    has_all_messages,
    has_recovered,
    read_events,
    register,
)
from tests.support.waiting import wait_until
from thingspace_provider.api import Credentials, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import OVERRIDE_VARIABLE
from thingspace_provider.listener.recovery.queue_drainer import ReplicatedLoginGuard
from thingspace_provider.listener.recovery.queue_recovery import LEADER_LEASE
from thingspace_provider.listener.store.sqlite.store import SqliteStore

Replicas = Callable[..., list[ListenerProcess]]
STOPPED_EVENT = "recovery_stopped"


@pytest.fixture
def replicas(postgres: PostgresServer, tmp_path: Path) -> Iterator[Replicas]:
    """Function that starts listeners at once on one database, each with its own state directory."""
    url = postgres.create_database()
    started: list[ListenerProcess] = []

    def start_replicas(count: int, **changes: Any) -> list[ListenerProcess]:
        def start_replica(number: int) -> ListenerProcess:
            folder = tmp_path / f"{len(started)}-{number}"
            folder.mkdir()
            before = ("env", f"XDG_STATE_HOME={folder}")
            return ListenerProcess(folder, before=before, **{**changes, "store": url})

        with ThreadPoolExecutor() as pool:
            made = list(pool.map(start_replica, range(count)))
        started.extend(made)
        return made

    yield start_replicas
    for listener in started:
        listener.kill()


def count_results(listeners: list[ListenerProcess]) -> list[str]:
    """Return the results of all recovery runs."""
    metrics = "\n".join(listener.get("/metrics").text for listener in listeners)
    matches = re.findall(r'^thingspace_recovery_runs_total\{result="([^"]*)"\} (\d+)', metrics, re.MULTILINE)
    return sorted(result for result, times in matches for _ in range(int(times)))


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_one_of_several_listeners_that_start_together_runs_recovery(
    replicas: Replicas, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient, mode: str
) -> None:
    expected = [f"queued {number}" for number in range(105)]
    for message in expected:
        any_port_emulator.send_message(message)
    listeners = replicas(3, **build_recovery_settings(any_port_emulator, mode, recoveryDelaySeconds=20))
    if mode == "startCallbacks":
        register(thingspace, listeners[0])
    wait_until(has_all_messages(listeners[-1], expected), 60, "the listener stores all messages")
    wait_until(lambda: len(count_results(listeners)) == 3, 60, "all three listeners report their run")
    assert count_results(listeners) == ["completed"] + ["skipped"] * 2
    assert sorted(listeners[0].message_texts()) == sorted(expected)
    assert any_port_emulator.count_calls()["login"] == (2 if mode == "startCallbacks" else 1)  # the test logs in, too


@pytest.mark.long
def test_a_wrong_password_is_tried_once_by_all_listeners_together(
    replicas: Replicas, any_port_emulator: EmulatorProcess
) -> None:
    wrong = build_recovery_settings(any_port_emulator, "history")
    wrong["thingspaceCredentials"] = {**wrong["thingspaceCredentials"], "password": "sentinel-wrong"}
    listeners = [*replicas(2, **wrong), *replicas(1, **wrong)]

    def stopped() -> bool:
        return all(listener.get("/readyz").json()["recovery"] == "stopped" for listener in listeners)

    wait_until(stopped, 30, "recovery is stopped at every listener")
    assert any_port_emulator.count_calls()["login"] == 1
    wait_until(
        lambda: all(len(read_events(listener, STOPPED_EVENT)) == 1 for listener in listeners),
        60,
        "every log has the stopped recovery once",
    )
    assert listeners[-1].post(build_text_callback("still stored", password=PASSWORD)).status_code == 200


def test_a_value_of_the_override_allows_one_login_among_all_listeners(
    credentials: Credentials, any_port_emulator: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replicas share a SQLite file here. The tests of the stores cover PostgreSQL."""
    store, wrong = SqliteStore(tmp_path / "inbox.sqlite3"), replace(credentials, password="sentinel-wrong")

    def drain_queue(machine: str) -> str:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
        try:
            ThingSpaceClient(wrong, login_guard=ReplicatedLoginGuard(store.coordination)).start_callbacks(ACCOUNT)
        except errors.ThingSpaceError as error:
            return f"{type(error).__name__}: {error}"
        return "done"

    assert drain_queue("first").startswith("LoginRejected")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    assert drain_queue("second").startswith("LoginRejected")
    (tmp_path / "unwritable").write_text("")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "0")
    assert drain_queue("unwritable").startswith("LoginRejected")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    for machine in ("first", "second", "third", "unwritable"):
        assert f"{OVERRIDE_VARIABLE}=2 (its current value is used)" in drain_queue(machine)
    assert any_port_emulator.count_calls()["login"] == 3
    store.close()


@pytest.mark.long
def test_another_listener_takes_over_when_the_leader_is_frozen(
    replicas: Replicas, any_port_emulator: EmulatorProcess
) -> None:
    any_port_emulator.send_message("queued")
    any_port_emulator.hold("smsHistory")
    frozen, *_ = replicas(1, **build_recovery_settings(any_port_emulator, "history"))
    wait_until(any_port_emulator.is_holding, 60, "the emulator holds the call")
    frozen.process.send_signal(signal.SIGSTOP)
    any_port_emulator.release()
    (other,) = replicas(1, **build_recovery_settings(any_port_emulator, "history"))
    wait_until(has_recovered(other, 1), 60, "recovery run 1 ends")
    assert (any_port_emulator.count_queued(), other.message_texts()) == (0, ["queued"])
    frozen.process.send_signal(signal.SIGCONT)
    frozen.post(build_text_callback(password="wrong"))
    wait_until(lambda: count_recovery_runs(frozen) > 0, 60, "the frozen listener reports its run")
    messages = other.messages()
    assert [message["text"] for message in messages if message["duplicateOf"] is None] == ["queued"]
    assert any_port_emulator.count_calls()["login"] == 2


@pytest.mark.long
def test_a_leader_lease_held_by_another_replica_is_logged(
    replicas: Replicas, any_port_emulator: EmulatorProcess, postgres: PostgresServer
) -> None:
    (listener,) = replicas(1, **build_recovery_settings(any_port_emulator, "history", recoveryIntervalSeconds=6))
    other = open_postgres_store(postgres.url())
    event = "recovery_lease_held_by_replica"
    wait_until(
        lambda: count_recovery_runs(listener) == 1 and other.coordination.get_value(f"lease {LEADER_LEASE}") == 0,
        60,
        "the listener releases the leader lease",
    )
    with other.coordination.leader_lease(LEADER_LEASE) as mine:
        wait_until(lambda: read_events(listener, event) != [], 40, "the log has the event")
        assert mine()
    other.close()
    wait_until(has_recovered(listener, 2), 30, "recovery run 2 ends")


@pytest.mark.long
def test_another_listener_takes_over_when_the_leader_is_killed(
    replicas: Replicas, any_port_emulator: EmulatorProcess
) -> None:
    expected = [f"queued {number}" for number in range(1000)]
    for message in expected:
        any_port_emulator.send_message(message)
    listeners = replicas(3, **build_recovery_settings(any_port_emulator, "history"))
    wait_until(lambda: len(listeners[0].message_texts()) > 100, 30, "the listener stores 100 messages")
    for victim in listeners[:2]:
        victim.kill()
    wait_until(has_all_messages(listeners[2], expected), 90, "the listener stores all messages")
    unique = [message["text"] for message in listeners[2].messages() if message["duplicateOf"] is None]
    assert sorted(unique) == sorted(expected)
