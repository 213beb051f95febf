"""The scripts of deploy/pipelines with the real engine, the emulator and a real listener."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.listener_process import ListenerProcess
from tests.support.pulumi_project import Project
from tests.support.secret_scanner import SecretScanner
from tests.support.waiting import wait_until
from thingspace_provider.api import Registration, ThingSpaceClient
from thingspace_provider.lifecycle.listener_process import is_port_free

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "deploy" / "pipelines" / "scripts"
OUTPUT = Path(".pipeline") / "dev"
pytestmark = pytest.mark.long


@pytest.fixture
def project(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Project]:
    """Stack dev of a program under version control, not yet deployed."""
    project = Project(tmp_path, emulator.environment)
    project.environment["XDG_STATE_HOME"] = str(tmp_path / "login-state")
    project.init("dev")
    (project.folder / ".gitignore").write_text(".venv\n.pipeline\n.thingspace\n__pycache__\n")
    git(project, "init", "-q")
    commit(project)
    yield project
    project.clean_up()
    project.stop_listeners()


@pytest.fixture
def deployed(project: Project) -> Project:
    project.up()
    return project


def git(project: Project, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=project.folder, check=True, capture_output=True, timeout=60)


def commit(project: Project) -> None:
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "change")


def run(project: Project, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script for stack dev. Its output has both streams."""
    return subprocess.run(
        [str(SCRIPTS / script), "dev", *arguments],
        cwd=project.folder,
        env={**project.environment, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def succeed(project: Project, script: str, *arguments: str, **environment: str) -> str:
    done = run(project, script, *arguments, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


def change_program(project: Project) -> None:
    program = project.folder / "__main__.py"
    program.write_text(program.read_text() + "\nCallbackCredential('second')\n")


def test_plan_is_applied_exactly_and_once_and_has_no_secret(project: Project, emulator: EmulatorProcess) -> None:
    succeed(project, "lint")
    succeed(project, "preview")
    assert emulator.count_calls()["login"] == 0  # so a job for a pull request needs no credential of ThingSpace
    scanner = SecretScanner(**{name: emulator.environment[f"THINGSPACE_{name}"] for name in ("APP_SECRET", "PASSWORD")})
    assert scanner.find_in_files(project.folder / OUTPUT, {}) == []
    comment = (project.folder / OUTPUT / "comment.md").read_text()
    assert comment.startswith("<!-- thingspace preview dev -->\n")
    assert "CallbackRegistration" in comment
    succeed(project, "apply")
    project.preview("--expect-no-changes")
    assert "there is no saved plan" in run(project, "apply").stdout


def test_apply_changes_nothing_when_the_program_differs_from_the_plan(
    project: Project, emulator: EmulatorProcess
) -> None:
    succeed(project, "preview")
    change_program(project)  # not committed: the engine itself must reject it
    done = run(project, "apply")
    assert done.returncode == 1, done.stdout
    assert "no steps were expected for this resource" in done.stdout
    assert json.loads(project.export())["deployment"].get("resources", []) == []
    commit(project)
    done = run(project, "apply")
    assert "another stack or commit" in done.stdout
    assert emulator.count_calls()["login"] == 0


def test_drift_alarm_names_the_cause_and_is_silent_otherwise(deployed: Project, thingspace: ThingSpaceClient) -> None:
    assert "no drift" in summarized(deployed, 0)
    [own] = thingspace.list_callbacks(ACCOUNT)
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, own.url, own.username, "sentinel-changed"))
    summary = summarized(deployed, 4)  # doctor names it too
    assert "DRIFT" in summary
    assert "sentinel" not in summary
    thingspace.register_callback(ACCOUNT, own)
    pid = deployed.listener_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: deployed.listener_pid() is None, 60, "the listener process ends")
    assert "doctor`: FAILED" in summarized(deployed, 3, 4)  # a local listener is a resource: its end is drift too


def summarized(project: Project, *expected: int) -> str:
    """Run the drift alarm, check its exit code and return its summary."""
    (project.folder / OUTPUT / "summary.md").unlink(missing_ok=True)
    done = run(project, "drift")
    assert done.returncode in expected, done.stdout
    return (project.folder / OUTPUT / "summary.md").read_text()


def test_second_run_is_rejected_with_a_clear_message_while_one_is_under_way(
    project: Project, emulator: EmulatorProcess
) -> None:
    succeed(project, "preview")
    emulator.hold("registerCallback")
    running = project.start("up", "--yes", "--skip-preview", "--stack", "dev")
    wait_until(emulator.is_holding, 60, "the first run waits for ThingSpace")
    done = run(project, "apply")
    assert done.returncode == 75, done.stdout
    assert "another run for stack dev is under way" in done.stdout
    emulator.release()
    assert running.end().status == 0


def test_five_nights_with_a_wrong_password_cost_one_login(
    deployed: Project, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"  # what the platform keeps between two runs

    def night(
        number: int, password: str = emulator.ready["password"], *, is_scheduled: bool = True
    ) -> subprocess.CompletedProcess[str]:
        home = tmp_path / f"home-{number}"
        state = home / "state"
        if cache.exists():
            shutil.copytree(cache, state)
        done = run(
            deployed,
            "drift",
            HOME=str(home),
            XDG_STATE_HOME=str(state),
            PIPELINE_SCHEDULED=str(is_scheduled).lower(),
            THINGSPACE_PASSWORD=password,
        )
        shutil.rmtree(cache, ignore_errors=True)
        if state.exists():
            shutil.copytree(state, cache)
        return done

    blind = night(0)
    assert blind.returncode == 5, blind.stdout
    assert "was not restored" in blind.stdout
    assert night(1, is_scheduled=False).returncode == 0
    assert night(2).returncode == 0
    emulator.control("DELETE", "journal")
    codes = [night(number, "sentinel-wrong").returncode for number in range(3, 8)]
    assert codes == [1, 5, 5, 5, 5]
    assert emulator.count_calls()["login"] == 1
    summary = (deployed.folder / OUTPUT / "summary.md").read_text()
    assert summary.count("Record of rejected logins: 1 ThingSpace user(s)") == 5
    assert summary.count("No login was sent. Correct the secret") == 4
    assert "sentinel" not in "".join(path.read_text() for path in cache.rglob("*") if path.is_file())
    still = night(8)  # the secret was corrected, and no run was started by hand
    assert still.returncode == 5
    assert "start this job by hand once" in still.stdout
    assert night(9, is_scheduled=False).returncode == 0
    assert night(10).returncode == 0


def test_rotation_rejects_no_message_of_a_listener_elsewhere(
    project: Project, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    port = next(port for port in range(28_210, 28_220) if is_port_free("127.0.0.1", port))
    url = f"http://127.0.0.1:{port}/callbacks/{{path_token}}/{{account}}"
    project.configure("thingspace:listener", json.dumps({"kind": "external", "url": url}))
    project.up("--target", "**CallbackCredential::credential")
    (tmp_path / "listener").mkdir()
    listener = ListenerProcess(tmp_path / "listener", port=port, **export_credential(project))
    try:
        project.up()
        commit(project)
        deliver = tmp_path / "deliver"
        deliver.write_text(
            "import json, pathlib, sys\n"
            f"file = pathlib.Path({str(listener.file)!r})\n"
            "file.write_text(json.dumps({**json.loads(file.read_text()), **json.load(sys.stdin)}))\n"
        )
        stop, sent = threading.Event(), []

        def send() -> None:
            for number in itertools.count():
                if stop.wait(0.2):
                    return
                emulator.send_message(f"message {number}")
                sent.append(f"message {number}")

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for rotation in ("2", "3"):
                succeed(
                    project, "rotate", "prepare", ROTATION=rotation, ROTATE_DELIVER=f"python3 {deliver}",
                    ROTATE_PUBLISH="git -c user.name=t -c user.email=t@example.com commit -qam rotation",
                )  # fmt: skip
                succeed(project, "rotate", "register")
        finally:
            stop.set()
            sender.join(60)
        wait_until(lambda: set(listener.message_texts()) >= set(sent), 60, "the listener stores all messages")
        assert sent
        assert len(export_credential(project)["previousPasswords"]) == 2
        assert "callback_rejected" not in listener.log.read_text()
        git(project, "diff", "--exit-code")  # the stack file was kept before the password was made
        assert "no drift" in summarized(project, 0)
    finally:
        listener.kill()
    assert "no drift" in summarized(project, 3)  # only doctor finds a listener that is down


def export_credential(project: Project) -> Any:
    return json.loads(project.pulumi("stack", "output", "listenerCredential", "--show-secrets", "--json").output)


def test_rotation_is_rejected_when_other_changes_are_pending(deployed: Project, emulator: EmulatorProcess) -> None:
    change_program(deployed)
    emulator.control("DELETE", "journal")
    done = run(deployed, "rotate", "prepare", ROTATION="2")
    assert done.returncode == 1
    assert "changes that are not applied" in done.stdout
    assert emulator.count_calls()["login"] == 0
