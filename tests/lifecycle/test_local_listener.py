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

from tests.support.emulator_process import ACCOUNT, wait_until
from tests.support.lifecycle_harness import LifecycleHarness
from tests.support.listener_process import reserve_port
from thingspace_provider.api import errors
from thingspace_provider.lifecycle import listener_process, local_listener
from thingspace_provider.lifecycle.local_listener import ListenerStartError, LocalListenerLifecycle
from thingspace_provider.listener.runtime.pid_file import PidFile
from thingspace_provider.readiness import probe
from thingspace_provider.readiness.probe import ReadinessProbe

TOKEN = "path-token-0123456789abcdef"
lifecycle = LocalListenerLifecycle()


@pytest.fixture(autouse=True)
def _own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """All listeners of a machine choose in the same order, so a test beside this one may be quicker at a restart."""
    monkeypatch.setattr(local_listener, "PORT_CANDIDATES", tuple({reserve_port() for _ in range(5)}))


@pytest.fixture(autouse=True)
def _long_attempt_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LAST_ATTEMPT_SECONDS", 20.0)


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[dict[str, Any]]:
    given = {"accountNames": [ACCOUNT], "username": "plant-a", "password": "example-only", "previousPassword": ""}
    checked = lifecycle.check({**given, "pathToken": TOKEN, "stateDir": str(tmp_path / "listener")})
    assert checked.failures == []
    yield checked.inputs
    listener_process.stop(tmp_path / "listener" / "listener.pid")


@pytest.fixture
def readiness_probe() -> Iterator[ReadinessProbe]:
    new_probe = ReadinessProbe()
    yield new_probe
    new_probe.close()


def test_a_listener_starts_passes_the_probe_is_read_and_stops(
    harness: LifecycleHarness, inputs: dict[str, Any], readiness_probe: ReadinessProbe
) -> None:
    outputs = lifecycle.create(harness.context, inputs).outputs
    readiness_probe.wait_until_ready(
        f"{outputs['url']}/callbacks/{TOKEN}/{ACCOUNT}", ACCOUNT, "plant-a", "example-only"
    )
    assert lifecycle.read(harness.context, outputs).outputs == outputs
    assert os.getsid(outputs["pid"]) == outputs["pid"]  # a session of its own
    lifecycle.delete(harness.context, outputs)
    assert listener_process.running_pid(Path(inputs["stateDir"]) / "listener.pid") is None
    lifecycle.delete(harness.context, outputs)  # already stopped
    assert Path(inputs["stateDir"], "inbox.sqlite3").exists()


@pytest.mark.parametrize(
    ("username", "password", "account", "token", "expected_error"),
    [
        ("plant-a", "wrong", ACCOUNT, TOKEN, "another user name or password"),
        ("plant-b", "example-only", ACCOUNT, TOKEN, "another user name or password"),
        ("plant-a", "example-only", "0000123456-00002", TOKEN, "answered 404"),
        ("plant-a", "example-only", ACCOUNT, "wrong-token-0123456789", "answered 404"),
    ],
)
def test_a_failed_probe_reports_the_reason(
    harness: LifecycleHarness,
    inputs: dict[str, Any],
    readiness_probe: ReadinessProbe,
    username: str,
    password: str,
    account: str,
    token: str,
    expected_error: str,
) -> None:
    url = lifecycle.create(harness.context, inputs).outputs["url"]
    with pytest.raises(errors.ListenerNotReady, match=expected_error) as failed:
        readiness_probe.wait_until_ready(f"{url}/callbacks/{token}/{account}", account, username, password, seconds=0.1)
    assert token not in str(failed.value)
    assert password not in str(failed.value)


def test_an_interrupted_create_is_continued_by_the_next(harness: LifecycleHarness, inputs: dict[str, Any]) -> None:
    first = lifecycle.create(harness.context, inputs).outputs
    second = lifecycle.create(harness.context, inputs).outputs
    assert second["pid"] != first["pid"]
    assert second["port"] == first["port"]
    assert wait_until(lambda: _has_ended(first["pid"]))


def test_a_death_is_seen_and_asks_for_an_update(harness: LifecycleHarness, inputs: dict[str, Any]) -> None:
    outputs = lifecycle.create(harness.context, inputs).outputs
    os.kill(outputs["pid"], signal.SIGKILL)
    assert wait_until(lambda: listener_process.running_pid(Path(inputs["stateDir"]) / "listener.pid") is None)
    current = lifecycle.read(harness.context, outputs)
    assert current.outputs["running"] is False
    assert lifecycle.diff(current.outputs, inputs, harness.fingerprint).changes
    assert not lifecycle.diff(outputs, inputs, harness.fingerprint).changes
    restarted = lifecycle.update(harness.context, current.outputs, inputs)
    assert restarted["port"] == outputs["port"]


def test_what_it_runs_with_is_readable_by_its_user_alone_and_not_in_its_environment(
    harness: LifecycleHarness, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_PASSWORD", "sentinel-thingspace")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sentinel-passphrase")
    outputs = lifecycle.create(harness.context, inputs).outputs
    for name in ("settings.json", "listener.log"):
        assert Path(inputs["stateDir"], name).stat().st_mode & 0o077 == 0
    seen = Path(f"/proc/{outputs['pid']}/environ").read_bytes() + Path(f"/proc/{outputs['pid']}/cmdline").read_bytes()
    assert b"sentinel" not in seen
    assert b"example-only" not in seen


def test_a_listener_that_cannot_start_says_why(harness: LifecycleHarness, inputs: dict[str, Any]) -> None:
    folder = Path(inputs["stateDir"])
    folder.mkdir(parents=True)
    (folder / "inbox.sqlite3").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(ListenerStartError, match="starting the local listener") as failed:
        lifecycle.create(harness.context, inputs)
    assert str(folder / "listener.log") in str(failed.value)


def test_a_chosen_port_that_another_program_was_quicker_to_take_is_left_to_it(
    harness: LifecycleHarness, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the port looked free is made up, because the moment in between cannot be hit."""
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        taken = quicker.getsockname()[1]
        monkeypatch.setattr(local_listener, "PORT_CANDIDATES", (taken, *local_listener.PORT_CANDIDATES))
        free = listener_process.is_port_free
        looks = iter([True])
        monkeypatch.setattr(listener_process, "is_port_free", lambda host, port: next(looks, False) or free(host, port))
        assert lifecycle.create(harness.context, inputs).outputs["port"] in local_listener.PORT_CANDIDATES[1:]


def test_a_listener_that_is_just_ending_is_not_waited_for_as_one_that_just_starts(tmp_path: Path) -> None:
    ending = PidFile(tmp_path / "listener.pid")  # locked and empty, as in the moment before the end
    with ThreadPoolExecutor(1) as pool:
        running_pid = pool.submit(listener_process.running_pid, tmp_path / "listener.pid")
        assert not wait([running_pid], 0.2).done
        ending.close()
        assert running_pid.result(20) is None


def test_a_pid_of_another_program_is_never_signalled(tmp_path: Path) -> None:
    pid_file = tmp_path / "listener.pid"
    pid_file.write_text(json.dumps({"pid": os.getpid()}))  # nobody holds its lock
    listener_process.stop(pid_file)
    assert listener_process.running_pid(pid_file) is None


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    listener_process._reap()  # noqa: SLF001  it is our child here, and not in real life
    return False


@pytest.mark.parametrize(
    ("name", "expected_error"),
    [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        ("/proc/nowhere/below", "No such file or directory"),
        ("a\0b", "embedded null"),  # which each Python says in other words
        ("a" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_named_with_the_reason(
    harness: LifecycleHarness, inputs: dict[str, Any], tmp_path: Path, name: str, expected_error: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ListenerStartError) as failed:
        lifecycle.create(harness.context, {**inputs, "stateDir": str(tmp_path / name)})
    _, _, detail = str(failed.value).partition(f"its folder {tmp_path / name} cannot be used: ")
    assert expected_error in detail
