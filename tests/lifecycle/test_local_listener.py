"""LocalListener without Pulumi: real processes, started, found, restarted, stopped."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT
from tests.support.lifecycle_harness import LifecycleHarness
from tests.support.listener_process import reserve_port
from tests.support.waiting import wait_until
from thingspace_provider.api import errors
from thingspace_provider.lifecycle.listener_process import DetachedProcess, _reap, is_port_free
from thingspace_provider.lifecycle.local_listener import ListenerStartError, LocalListenerLifecycle
from thingspace_provider.listener.runtime.pid_file import PidFile
from thingspace_provider.readiness.probe import ReadinessProbe

TOKEN = "path-token-0123456789abcdef"


@pytest.fixture
def ports() -> list[int]:
    """Ports of this test only: all listeners of a machine choose candidates in the same order."""
    return sorted({reserve_port() for _ in range(5)})


@pytest.fixture
def lifecycle(ports: list[int]) -> LocalListenerLifecycle:
    return LocalListenerLifecycle(ports)


@pytest.fixture
def inputs(tmp_path: Path, lifecycle: LocalListenerLifecycle) -> Iterator[dict[str, Any]]:
    given = {
        "accountNames": [ACCOUNT],
        "username": "plant-a",
        "password": "an-invented-pass-phrase",
        "previousPasswords": [],
    }
    checked = lifecycle.check({**given, "pathToken": TOKEN, "stateDir": str(tmp_path / "listener")})
    assert checked.failures == []
    yield checked.inputs
    DetachedProcess(tmp_path / "listener" / "listener.pid").stop()


@pytest.fixture
def readiness_probe() -> Iterator[ReadinessProbe]:
    new_probe = ReadinessProbe(min_attempt_timeout_seconds=20.0)
    yield new_probe
    new_probe.close()


def running_pid(inputs: dict[str, Any]) -> int | None:
    return DetachedProcess(Path(inputs["stateDir"]) / "listener.pid").running_pid()


def test_a_listener_starts_passes_the_probe_is_read_and_stops(
    harness: LifecycleHarness,
    lifecycle: LocalListenerLifecycle,
    inputs: dict[str, Any],
    readiness_probe: ReadinessProbe,
) -> None:
    outputs = lifecycle.create(harness.context, inputs).outputs
    readiness_probe.wait_until_ready(
        f"{outputs['url']}/callbacks/{TOKEN}/{ACCOUNT}", ACCOUNT, "plant-a", "an-invented-pass-phrase"
    )
    current = lifecycle.read(harness.context, outputs["stateDir"], outputs)
    assert current is not None
    assert current.outputs == outputs
    assert os.getsid(outputs["pid"]) == outputs["pid"]  # a session of its own
    lifecycle.delete(harness.context, outputs)
    assert running_pid(inputs) is None
    lifecycle.delete(harness.context, outputs)  # already stopped
    assert Path(inputs["stateDir"], "inbox.sqlite3").exists()


@pytest.mark.parametrize(
    ("username", "password", "account", "token", "expected_error"),
    [
        ("plant-a", "wrong", ACCOUNT, TOKEN, "another user name or password"),
        ("plant-b", "example-only", ACCOUNT, TOKEN, "another user name or password"),
        ("plant-a", "example-only", "0000123456-00002", TOKEN, "responded with 404"),
        ("plant-a", "example-only", ACCOUNT, "wrong-token-0123456789", "responded with 404"),
    ],
)
def test_a_failed_probe_reports_the_reason(
    harness: LifecycleHarness,
    lifecycle: LocalListenerLifecycle,
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


def test_an_interrupted_create_is_continued_by_the_next(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any]
) -> None:
    first = lifecycle.create(harness.context, inputs).outputs
    second = lifecycle.create(harness.context, inputs).outputs
    assert second["pid"] != first["pid"]
    assert second["port"] == first["port"]
    wait_until(lambda: _has_ended(first["pid"]), 60, "the first listener process ends")


def test_read_reports_an_exited_process_and_diff_an_update(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any]
) -> None:
    outputs = lifecycle.create(harness.context, inputs).outputs
    os.kill(outputs["pid"], signal.SIGKILL)
    wait_until(lambda: running_pid(inputs) is None, 60, "the listener process ends")
    current = lifecycle.read(harness.context, outputs["stateDir"], outputs)
    assert current is not None
    assert current.outputs["running"] is False
    assert lifecycle.diff(current.outputs, inputs, harness.fingerprint).changes
    assert not lifecycle.diff(outputs, inputs, harness.fingerprint).changes
    restarted = lifecycle.update(harness.context, current.outputs, inputs)
    assert restarted["port"] == outputs["port"]


def test_read_by_id_finds_the_process_by_its_directory(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any], tmp_path: Path
) -> None:
    created = lifecycle.create(harness.context, inputs)
    program = {"accountNames": inputs["accountNames"], "stateDir": "another"}
    found = lifecycle.read(harness.context, created.id, program)
    assert found is not None
    assert found.inputs == program | {"stateDir": created.id}
    expected = {key: created.outputs[key] for key in ("url", "port", "pid", "running", "portIsFixed")}
    assert {key: found.outputs[key] for key in expected} == expected
    assert lifecycle.read(harness.context, str(tmp_path / "missing"), program) is None


def test_secrets_are_readable_only_by_the_user_and_absent_from_the_process_environment(
    harness: LifecycleHarness,
    lifecycle: LocalListenerLifecycle,
    inputs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THINGSPACE_PASSWORD", "sentinel-thingspace")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "sentinel-passphrase")
    outputs = lifecycle.create(harness.context, inputs).outputs
    for name in ("settings.json", "listener.log"):
        assert Path(inputs["stateDir"], name).stat().st_mode & 0o077 == 0
    seen = Path(f"/proc/{outputs['pid']}/environ").read_bytes() + Path(f"/proc/{outputs['pid']}/cmdline").read_bytes()
    assert b"sentinel" not in seen
    assert b"example-only" not in seen


def test_create_reports_the_log_when_the_listener_cannot_start(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any]
) -> None:
    directory = Path(inputs["stateDir"])
    directory.mkdir(parents=True)
    (directory / "inbox.sqlite3").write_text("this is not a database, and long enough to be recognised" * 20)
    with pytest.raises(ListenerStartError, match="starting the local listener") as failed:
        lifecycle.create(harness.context, inputs)
    assert str(directory / "listener.log") in str(failed.value)


def test_create_chooses_another_port_when_another_program_took_the_first(
    harness: LifecycleHarness, inputs: dict[str, Any], ports: list[int]
) -> None:
    """The first look at the port is simulated, because the moment after it cannot be hit."""
    with socket.create_server(("127.0.0.1", 0)) as other_program:
        taken = other_program.getsockname()[1]
        simulated = iter([True])
        lifecycle = LocalListenerLifecycle(
            [taken, *ports], lambda host, port: next(simulated, False) or is_port_free(host, port)
        )
        assert lifecycle.create(harness.context, inputs).outputs["port"] in ports


def test_running_pid_returns_at_once_when_a_listener_has_unlocked_its_pid_file(tmp_path: Path) -> None:
    ending = PidFile(tmp_path / "listener.pid")  # locked and empty, as in the moment before it exits
    with ThreadPoolExecutor(1) as pool:
        pid = pool.submit(DetachedProcess(tmp_path / "listener.pid").running_pid)
        assert not wait([pid], 0.2).done
        ending.close()
        assert pid.result(20) is None


def test_a_pid_of_another_program_is_never_signalled(tmp_path: Path) -> None:
    pid_file = tmp_path / "listener.pid"
    pid_file.write_text(str(os.getpid()))  # not locked
    process = DetachedProcess(pid_file)
    process.stop()
    assert process.running_pid() is None


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    _reap()  # only in a test is it a child of this process
    return False


@pytest.mark.parametrize(
    ("name", "expected_error"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc/nowhere/below", "No such file or directory"),
        ("a\0b", "embedded null"),  # the rest of the message depends on the Python version
        ("a" * 300, "File name too long"),
    ],
)
def test_create_names_a_directory_that_cannot_be_created(
    harness: LifecycleHarness,
    lifecycle: LocalListenerLifecycle,
    inputs: dict[str, Any],
    tmp_path: Path,
    name: str,
    expected_error: str,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ListenerStartError) as failed:
        lifecycle.create(harness.context, {**inputs, "stateDir": str(tmp_path / name)})
    _, _, detail = str(failed.value).partition(f"its directory {tmp_path / name} cannot be used: ")
    assert expected_error in detail


def test_deleting_the_old_resource_keeps_the_listener_that_the_same_update_started(
    harness: LifecycleHarness, ports: list[int], inputs: dict[str, Any]
) -> None:
    """As after `pulumi up --replace`."""
    old = LocalListenerLifecycle(ports).create(harness.context, inputs).outputs
    update = LocalListenerLifecycle(ports)  # the provider process of the next update
    harness.time += dt.timedelta(minutes=1)
    new = update.create(harness.context, inputs).outputs
    update.delete(harness.context, old)
    assert running_pid(inputs) == new["pid"]
    LocalListenerLifecycle(ports).delete(harness.context, new)
    assert running_pid(inputs) is None


def test_the_directory_is_private_and_ignored_by_git_whatever_the_umask(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any], tmp_path: Path
) -> None:
    directory = tmp_path / "state" / "listeners" / "dev"
    inputs["stateDir"] = str(directory)
    umask = os.umask(0)
    try:
        outputs = lifecycle.create(harness.context, inputs).outputs
    finally:
        os.umask(umask)
    try:
        for path in (directory, directory.parent, directory.parent.parent):
            assert path.stat().st_mode & 0o777 == 0o700
        assert (directory / "settings.json").stat().st_mode & 0o777 == 0o600
        assert (directory / ".gitignore").read_text() == "*\n"
    finally:
        lifecycle.delete(harness.context, outputs)


def test_a_prepared_settings_file_does_not_receive_the_password(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any], tmp_path: Path
) -> None:
    directory = Path(inputs["stateDir"])
    directory.mkdir(mode=0o700)
    target = tmp_path / "target"
    target.write_text("")
    for name in ("settings.json", "settings.json.new"):
        (directory / name).symlink_to(target)
    lifecycle.create(harness.context, inputs)
    assert target.read_text() == ""
    assert not (directory / "settings.json").is_symlink()


def test_a_directory_that_others_can_write_to_is_rejected(
    harness: LifecycleHarness, lifecycle: LocalListenerLifecycle, inputs: dict[str, Any]
) -> None:
    directory = Path(inputs["stateDir"])
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(ListenerStartError, match="other users can write to its directory"):
        lifecycle.create(harness.context, inputs)
    assert [path.name for path in directory.iterdir()] == []
