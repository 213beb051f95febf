"""Namespaces and cgroups of the cluster tests: nothing stays when their process is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import time_limit, wait_until
from tools.cluster import run
from tools.cluster.namespaces import find_hierarchies
from tools.cluster.run import TOP, explain_why_not

RUN = """
from tools.cluster.run import run_inside, temporary_cgroups
with temporary_cgroups() as (name, folder):
    run_inside(name, "--net", "--", "sh", "-c", f"mkdir {folder}/data; setsid sleep 987 & echo {name} {folder}; wait")
"""


@pytest.mark.skipif(bool(reason := explain_why_not()), reason=f"cluster tests: {reason}")
def test_no_process_cgroup_or_folder_remains_when_the_run_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=TOP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with time_limit(process):
            name, folder = process.stdout.readline().split()
        cgroups = [hierarchy / name for hierarchy in find_hierarchies()]
        members = {pid for cgroup in cgroups for pid in (cgroup / "cgroup.procs").read_text().split()}
        assert len(members) >= 3  # process 1, the shell and sleep
        process.kill()
    wait_until(lambda: not Path(folder).exists(), 30, "the folder is removed")
    assert not any(cgroup.exists() for cgroup in cgroups)  # one with a running process cannot be removed


def test_only_missing_packages_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(run, "PACKAGES", {"sh": "dash", "absent-program": "absent-package", "/absent": "other-package"})
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: None if program.startswith(("absent", "/")) else program)
    monkeypatch.setattr("subprocess.run", lambda command, **_: commands.append(command))
    run.install_packages()
    assert commands[1][-2:] == ["absent-package", "other-package"]
    assert "apt-get install" in run.explain_why_not()
