"""LocalListener without Pulumi: real processes, started, found, restarted, stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, eventually
from tests.support.lifecycle_harness import World
from tests.support.listener_process import quiet_port
from thingspace_provider.api import errors
from thingspace_provider.lifecycle import listener_process, local_listener
from thingspace_provider.lifecycle.local_listener import ListenerNotStarted, LocalListener
from thingspace_provider.listener.runtime.pid_file import PidFile
from thingspace_provider.readiness import probe
from thingspace_provider.readiness.probe import Prover

TOKEN = "path-token-0123456789abcdef"
it = LocalListener()


@pytest.fixture(autouse=True)
def _ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All listeners of a machine choose in the same order, so a test beside this one may be quicker at a restart."""
    monkeypatch.setattr(local_listener, "CHOICE", tuple({quiet_port() for _ in range(5)}))


@pytest.fixture(autouse=True)
def _one_attempt_takes_as_long_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LAST_ATTEMPT_SECONDS", 20.0)


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[dict[str, Any]]:
    given = {"accountNames": [ACCOUNT], "username": "plant-a", "password": "example-only", "previousPassword": ""}
    checked = it.check({**given, "pathToken": TOKEN, "stateDir": str(tmp_path / "listener")})
    assert checked.failures == []
    yield checked.inputs
    listener_process.stop(tmp_path / "listener" / "listener.pid")


@pytest.fixture
def prover() -> Iterator[Prover]:
    prover = Prover()
    yield prover
    prover.close()


def test_it_starts_proves_itself_is_found_and_stops(world: World, inputs: dict[str, Any], prover: Prover) -> None:
    outputs = it.create(world.context, inputs).outputs
    prover.prove(f"{outputs['url']}/callbacks/{TOKEN}/{ACCOUNT}", ACCOUNT, "plant-a", "example-only")
    assert it.read(world.context, outputs).outputs == outputs
    assert os.getsid(outputs["pid"]) == outputs["pid"]  # a session of its own
    it.delete(world.context, outputs)
    assert listener_process.holder(Path(inputs["stateDir"]) / "listener.pid") is None
    it.delete(world.context, outputs)  # already stopped
    assert Path(inputs["stateDir"], "inbox.sqlite3").exists()


@pytest.mark.parametrize(
    ("username", "password", "account", "token", "problem"),
    [
        ("plant-a", "wrong", ACCOUNT, TOKEN, "another user name or password"),
        ("plant-b", "example-only", ACCOUNT, TOKEN, "another user name or password"),
        ("plant-a", "example-only", "0000123456-00002", TOKEN, "answered 404"),
        ("plant-a", "example-only", ACCOUNT, "wrong-token-0123456789", "answered 404"),
    ],
)
def test_a_proof_fails_by_its_reason(
    world: World,
    inputs: dict[str, Any],
    prover: Prover,
    username: str,
    password: str,
    account: str,
    token: str,
    problem: str,
) -> None:
    url = it.create(world.context, inputs).outputs["url"]
    with pytest.raises(errors.ListenerNotReady, match=problem) as failed:
        prover.prove(f"{url}/callbacks/{token}/{account}", account, username, password, seconds=0.1)
    assert token not in str(failed.value)
    assert password not in str(failed.value)


def test_an_interrupted_create_is_taken_up_by_the_next(world: World, inputs: dict[str, Any]) -> None:
    first = it.create(world.context, inputs).outputs
    second = it.create(world.context, inputs).outputs
    assert second["pid"] != first["pid"]
    assert second["port"] == first["port"]
    assert eventually(lambda: _ended(first["pid"]))


def test_a_death_is_seen_and_asks_for_an_update(world: World, inputs: dict[str, Any]) -> None:
    outputs = it.create(world.context, inputs).outputs
    os.kill(outputs["pid"], signal.SIGKILL)
    assert eventually(lambda: listener_process.holder(Path(inputs["stateDir"]) / "listener.pid") is None)
    found = it.read(world.context, outputs)
    assert found.outputs["running"] is False
    assert it.diff(found.outputs, inputs, world.where).changes
    assert not it.diff(outputs, inputs, world.where).changes
    restarted = it.update(world.context, found.outputs, inputs)
    assert restarted["port"] == outputs["port"]


def test_what_it_runs_with_is_readable_by_its_user_alone_and_not_in_its_environment(
    world: World, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_PASSWORD", "sentinel-thingspace")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sentinel-passphrase")
    outputs = it.create(world.context, inputs).outputs
    for name in ("settings.json", "listener.log"):
        assert Path(inputs["stateDir"], name).stat().st_mode & 0o077 == 0
    seen = Path(f"/proc/{outputs['pid']}/environ").read_bytes() + Path(f"/proc/{outputs['pid']}/cmdline").read_bytes()
    assert b"sentinel" not in seen
    assert b"example-only" not in seen


def test_a_listener_that_cannot_start_says_why(world: World, inputs: dict[str, Any]) -> None:
    folder = Path(inputs["stateDir"])
    folder.mkdir(parents=True)
    (folder / "inbox.sqlite3").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(ListenerNotStarted, match="starting the local listener") as failed:
        it.create(world.context, inputs)
    assert str(folder / "listener.log") in str(failed.value)


def test_a_chosen_port_that_another_program_was_quicker_to_take_is_left_to_it(
    world: World, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the port looked free is made up, because the moment in between cannot be hit."""
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        taken = quicker.getsockname()[1]
        monkeypatch.setattr(local_listener, "CHOICE", (taken, *local_listener.CHOICE))
        free = listener_process.is_free
        looks = iter([True])
        monkeypatch.setattr(listener_process, "is_free", lambda host, port: next(looks, False) or free(host, port))
        assert it.create(world.context, inputs).outputs["port"] in local_listener.CHOICE[1:]


def test_a_listener_that_is_just_ending_is_not_waited_for_as_one_that_just_starts(tmp_path: Path) -> None:
    ending = PidFile(tmp_path / "listener.pid")  # locked and empty, as in the moment before the end
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(listener_process.holder, tmp_path / "listener.pid")
        assert not wait([found], 0.2).done
        ending.close()
        assert found.result(20) is None


def test_a_pid_that_belongs_to_somebody_else_is_never_signalled(tmp_path: Path) -> None:
    pid_file = tmp_path / "listener.pid"
    pid_file.write_text(json.dumps({"pid": os.getpid()}))  # nobody holds its lock
    listener_process.stop(pid_file)
    assert listener_process.holder(pid_file) is None


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    listener_process._reap()  # noqa: SLF001  it is our child here, and not in real life
    return False


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        ("/proc/nowhere/below", "No such file or directory"),
        ("a\0b", "embedded null"),  # which each Python says in other words
        ("a" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_the_reason(
    world: World, inputs: dict[str, Any], tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ListenerNotStarted) as refused:
        it.create(world.context, {**inputs, "stateDir": str(tmp_path / name)})
    _, _, said = str(refused.value).partition(f"its folder {tmp_path / name} cannot be used: ")
    assert reason in said
