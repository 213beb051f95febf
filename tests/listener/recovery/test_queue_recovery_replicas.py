"""Listeners on one PostgreSQL: one of them asks ThingSpace, and a wrong password is tried once by all together."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess, eventually
from tests.support.listener_process import PASSWORD, ListenerProcess, text
from tests.support.postgres_server import PostgresServer
from tests.support.recovery_harness import MODES, asked, events, has_all, has_asked, heal, register
from thingspace_provider.api import Client, Credentials, errors
from thingspace_provider.api.login_guard import OVERRIDE
from thingspace_provider.listener.recovery.queue_drainer import SharedRefusals
from thingspace_provider.listener.recovery.queue_recovery import TURN
from thingspace_provider.listener.store.postgres.store import PostgresStore
from thingspace_provider.listener.store.sqlite.store import SqliteStore

Replicas = Callable[..., list[ListenerProcess]]
TOLD = "no queued texts are asked for until a restart or SIGHUP with other credentials"


@pytest.fixture
def replicas(postgres: PostgresServer, tmp_path: Path) -> Iterator[Replicas]:
    """Starts listeners at once on one empty database, each with a home of its own, as on several machines."""
    url = postgres.database()
    started: list[ListenerProcess] = []

    def begin(count: int, **changes: Any) -> list[ListenerProcess]:
        def one(number: int) -> ListenerProcess:
            folder = tmp_path / f"{len(started)}-{number}"
            folder.mkdir()
            before = ("env", f"XDG_STATE_HOME={folder}")
            return ListenerProcess(folder, before=before, **{**changes, "store": url})

        with ThreadPoolExecutor() as pool:
            made = list(pool.map(one, range(count)))
        started.extend(made)
        return made

    yield begin
    for listener in started:
        listener.kill()


def results(listeners: list[ListenerProcess]) -> list[str]:
    """What became of the times at which the queue was due to be asked for."""
    shown = "\n".join(listener.get("/metrics").text for listener in listeners)
    found = re.findall(r'^thingspace_queue_asked_total\{result="([^"]*)"\} (\d+)', shown, re.MULTILINE)
    return sorted(result for result, times in found for _ in range(int(times)))


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_of_several_listeners_that_start_together_one_asks(
    replicas: Replicas, world: EmulatorProcess, thingspace: Client, mode: str
) -> None:
    expected = [f"queued {number}" for number in range(105)]
    for message in expected:
        world.text(message)
    listeners = replicas(3, **heal(world, mode, healAfterSeconds=20))
    if mode == "startCallbacks":
        register(thingspace, listeners[0])
    assert eventually(has_all(listeners[-1], expected))
    assert eventually(lambda: len(results(listeners)) == 3)
    assert results(listeners) == ["another listener did"] * 2 + ["done"]
    assert sorted(listeners[0].texts()) == sorted(expected)
    assert world.calls()["login"] <= 2  # one is the test's own, to register


@pytest.mark.long
def test_a_wrong_password_is_tried_once_by_all_listeners_together(replicas: Replicas, world: EmulatorProcess) -> None:
    wrong = heal(world, "history")
    wrong["thingspace"] = {**wrong["thingspace"], "password": "sentinel-wrong"}
    listeners = [*replicas(2, **wrong), *replicas(1, **wrong)]

    def stopped() -> bool:
        return all(listener.get("/readyz").json()["healing"].startswith("stopped") for listener in listeners)

    assert eventually(stopped, 30)
    assert world.calls()["login"] == 1
    assert eventually(lambda: all(len(events(listener, TOLD)) == 1 for listener in listeners))
    assert listeners[-1].post(text("still taken", password=PASSWORD)).status_code == 200


def test_a_value_of_the_override_allows_one_login_among_all_listeners(
    credentials: Credentials, world: EmulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they share is in a file; what a database keeps of it, the tests of the store show."""
    store, wrong = SqliteStore(tmp_path / "inbox.sqlite3"), replace(credentials, password="sentinel-wrong")

    def ask(machine: str) -> str:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / machine))
        try:
            Client(wrong, refused_logins=SharedRefusals(store.shared)).start_callbacks(ACCOUNT)
        except errors.ThingSpaceError as error:
            return f"{type(error).__name__}: {error}"
        return "done"

    assert ask("first").startswith("LoginRefused")
    monkeypatch.setenv(OVERRIDE, "1")
    assert ask("second").startswith("LoginRefused")
    (tmp_path / "unwritable").write_text("")
    monkeypatch.setenv(OVERRIDE, "0")
    assert ask("unwritable").startswith("LoginRefused")
    monkeypatch.setenv(OVERRIDE, "1")
    for machine in ("first", "second", "third", "unwritable"):
        assert f"{OVERRIDE}=2 (its present value was used for one already)" in ask(machine)
    assert world.calls()["login"] == 3
    store.close()


@pytest.mark.long
def test_another_listener_goes_on_when_the_one_that_asks_is_frozen(replicas: Replicas, world: EmulatorProcess) -> None:
    world.text("queued")
    world.hold("smsHistory")
    frozen, *_ = replicas(1, **heal(world, "history"))
    assert eventually(world.holds)
    frozen.process.send_signal(signal.SIGSTOP)
    world.release()
    (other,) = replicas(1, **heal(world, "history"))
    assert eventually(has_asked(other, 1), 60)
    assert (world.queued(), other.texts()) == (0, ["queued"])
    frozen.process.send_signal(signal.SIGCONT)
    frozen.post(text(password="wrong"))
    assert eventually(lambda: asked(frozen) > 0, 60)
    messages = other.messages()
    assert [message["text"] for message in messages if message["duplicateOf"] is None] == ["queued"]
    assert world.calls()["login"] == 2


@pytest.mark.long
def test_that_others_have_the_turn_all_the_time_is_told(
    replicas: Replicas, world: EmulatorProcess, postgres: PostgresServer
) -> None:
    (listener,) = replicas(1, **heal(world, "history", healMinutes=0.1))
    other = PostgresStore(postgres.url(), "shown")
    told = "other listeners have been asking for queued texts all the time"
    assert eventually(lambda: asked(listener) == 1 and other.shared.noted(f"turn {TURN}") == 0)  # it gave it back
    with other.shared.turn(TURN) as mine:
        assert eventually(lambda: events(listener, told) != [], 40)
        assert mine()
    other.close()
    assert eventually(has_asked(listener, 2), 30)


@pytest.mark.long
def test_another_listener_goes_on_when_the_one_that_asks_is_killed(replicas: Replicas, world: EmulatorProcess) -> None:
    expected = [f"queued {number}" for number in range(1000)]
    for message in expected:
        world.text(message)
    listeners = replicas(3, **heal(world, "history"))
    assert eventually(lambda: len(listeners[0].texts()) > 100, 30)
    for victim in listeners[:2]:
        victim.kill()
    assert eventually(has_all(listeners[2], expected), 90)
    unique = [message["text"] for message in listeners[2].messages() if message["duplicateOf"] is None]
    assert sorted(unique) == sorted(expected)
