"""Each drill passes, fails when its outcome does not come, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

TOP = Path(__file__).resolve().parent.parent.parent
FOLDER = TOP / "drills"
DRILLS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "lab")
RUN_BROKEN = """
import runpy, shutil, sys
folder, drill, statement = sys.argv[1:]
sys.path.insert(0, folder)
sys.argv[1:] = []
import lab
lab.WAIT_SECONDS = 3.0
exec(statement)
runpy.run_path(drill, run_name="__main__")
"""
WITHOUT_TRIGGER = """
write_stack = lab.Lab.write_stack
lab.Lab.write_stack = lambda self, url, **values: write_stack(self, url)
"""
WITHOUT_RECORD = """
up = lab.Lab.up
def up_without_record(self, *arguments, **variables):
    shutil.rmtree(self.environment["XDG_STATE_HOME"], ignore_errors=True)
    return up(self, *arguments, **variables)
lab.Lab.up = up_without_record
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Environment of a user whose files a drill must not touch."""
    if shutil.which("pulumi") is None:
        pytest.fail("`pulumi` is not on PATH: run the tests with `make test-long`, which installs it")
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("THINGSPACE_", "PULUMI_"))}
    return {
        **variables,
        "TMPDIR": str(tmp_path / "temporary"),
        "XDG_STATE_HOME": str(tmp_path / "home" / "state"),
        "PULUMI_HOME": str(tmp_path / "home" / "pulumi"),
        "PULUMI_BACKEND_URL": "file:///nonexistent",
        "THINGSPACE_BASE_URL": "http://127.0.0.1:9/api",
        "THINGSPACE_PASSWORD": "sentinel-password",
    }


@pytest.fixture(autouse=True)
def nothing_left(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """Check that the drill has removed its files, stopped its processes and left the files of its user alone."""
    yield
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list((tmp_path / "home").iterdir()) == []
    assert find_processes(environment["TMPDIR"]) == []


def find_processes(folder: str) -> list[str]:
    """Return the command lines of other processes that name or work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, directory = (entry / "cmdline").read_bytes(), str((entry / "cwd").readlink())
        except OSError:
            continue
        if folder.encode() in command or directory.startswith(folder):
            found.append(command.decode(errors="replace"))
    return found


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("drill", DRILLS)
def test_drill_passes(environment: dict[str, str], drill: str) -> None:
    result = run(environment, str(FOLDER / f"{drill}.py"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "\nPassed in " in result.stdout
    assert "sentinel-password" not in result.stdout + result.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("drill", "statement", "missing"),
    [
        ("outage", WITHOUT_TRIGGER, "the queue is empty"),
        ("lockout", WITHOUT_RECORD, "the error says `login blocked`"),
    ],
)
def test_drill_fails_when_the_expected_outcome_does_not_come(
    environment: dict[str, str], drill: str, statement: str, missing: str
) -> None:
    result = run(environment, "-c", RUN_BROKEN, str(FOLDER), str(FOLDER / f"{drill}.py"), statement)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"The drill failed: expected within 3 s: {missing}" in result.stderr


@pytest.mark.long
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_drill_leaves_nothing_when_it_is_interrupted(
    environment: dict[str, str], tmp_path: Path, signal_number: signal.Signals
) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", str(FOLDER / "outage.py")], env=environment, stdout=file, stderr=file
        )
    wait_until(lambda: "listenerCredential" in output.read_text(), 60, "the drill starts a listener")
    process.send_signal(signal_number)
    assert process.wait(60) == 130
    assert "Interrupted." in output.read_text()


def test_drill_refuses_to_start_when_the_base_url_is_elsewhere(environment: dict[str, str]) -> None:
    environment = {**environment, "THINGSPACE_BASE_URL": "https://thingspace.verizon.com/api"}
    result = run(environment, str(FOLDER / "lockout.py"))
    assert result.returncode == 2
    assert result.stdout == ""
    assert "THINGSPACE_BASE_URL names another machine" in result.stderr


def test_every_drill_is_in_the_guide() -> None:
    guide = (TOP / "docs" / "drills.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `drills/(\w+)\.py` \|", guide, flags=re.MULTILINE)) == DRILLS
