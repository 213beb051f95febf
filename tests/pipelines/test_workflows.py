"""Workflow files and scripts pass their linters, each of which is shown able to fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.actionlint.get import find_actionlint

TOP = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
PIPELINES = TOP / "deploy" / "pipelines"
GITHUB = [*sorted((TOP / ".github" / "workflows").glob("*.yml")), *sorted((PIPELINES / "github").glob("*.yml"))]
GITLAB = PIPELINES / "gitlab" / ".gitlab-ci.yml"
SCRIPTS = sorted((PIPELINES / "scripts").iterdir())
BAD_WORKFLOW = """\
on: pull_request
jobs:
  bad:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      - run: echo "${{ github.event.pull_request.title }}" $UNQUOTED
        wrong-key: true
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )


def run_actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("go") is None:
        pytest.skip("actionlint is built with Go, which is not installed")
    return run(find_actionlint(), *files)


def run_zizmor(*files: Path) -> subprocess.CompletedProcess[str]:
    return run(BIN / "zizmor", "--offline", "--persona", "auditor", "--no-progress", *files)


def run_schema_check(file: Path) -> subprocess.CompletedProcess[str]:
    options = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    return run(BIN / "check-jsonschema", *options, file)


def run_shellcheck(*files: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    return run("shellcheck", "-x", "-P", "SCRIPTDIR", *files)


def test_actionlint_finds_nothing() -> None:
    done = run_actionlint(*GITHUB)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_and_nothing_is_suppressed() -> None:
    done = run_zizmor(*GITHUB)
    assert done.returncode == 0, done.stdout
    assert "suppressed" not in done.stdout
    assert not [file for file in GITHUB if "zizmor: ignore" in file.read_text()]


def test_gitlab_schema_is_met() -> None:
    done = run_schema_check(GITLAB)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_nothing() -> None:
    done = run_shellcheck(*(script for script in SCRIPTS if "bash" in script.read_text().splitlines()[0]))
    assert done.returncode == 0, done.stdout


def test_linters_fail_for_bad_files(tmp_path: Path) -> None:
    workflow = tmp_path / "bad.yml"
    workflow.write_text(BAD_WORKFLOW)
    assert "template-injection" in run_zizmor(workflow).stdout
    pipeline = tmp_path / "bad-gitlab.yml"
    pipeline.write_text("job: {script: [true], resource_group: [1], when: sometimes}\n")
    assert run_schema_check(pipeline).returncode == 1
    done = run_actionlint(workflow)
    assert done.returncode == 1
    assert "wrong-key" in done.stdout
    script = tmp_path / "bad"
    script.write_text("#!/bin/bash\nrm $1\n")
    assert run_shellcheck(script).returncode == 1


@pytest.mark.parametrize("file", GITHUB, ids=lambda file: file.name)
def test_actions_are_pinned_with_their_version(file: Path) -> None:
    uses = re.findall(r"uses: (.*)", file.read_text())
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", use)] == []
    assert "\npermissions: {}\n" in file.read_text()


@pytest.mark.parametrize("files", [sorted((PIPELINES / "github").glob("*.yml")), [GITLAB]], ids=["github", "gitlab"])
def test_every_script_is_called_by_both_platforms_and_no_other(files: list[Path]) -> None:
    called = set(re.findall(r"pipelines/scripts/(\w+)", "".join(file.read_text() for file in files)))
    assert called == {script.name for script in SCRIPTS if script.suffix == ""}


def test_pinned_commits_are_the_same_in_every_workflow() -> None:
    pins: dict[str, set[str]] = {}
    for file in GITHUB:
        for action, commit in re.findall(r"uses: ([\w-]+/[\w-]+)[\w/-]*@(\S+)", file.read_text()):
            pins.setdefault(action, set()).add(commit)
    assert {action: commits for action, commits in pins.items() if len(commits) > 1} == {}


def run_script(folder: Path, *command: str, pulumi: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a `pulumi` of one line of shell, and a `thingspace` that prints its arguments."""
    (folder / "bin").mkdir()
    for name, body in {"pulumi": pulumi, "thingspace": 'echo "$FROM_ESC: $*"'}.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    return subprocess.run(
        [str(PIPELINES / "scripts" / command[0]), *command[1:]],
        cwd=folder,
        env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_script_runs_inside_the_esc_environment_once(tmp_path: Path) -> None:
    pulumi = 'echo "$1 $2 $3 $4"; shift 4; FROM_ESC=value exec "$@"'
    done = run_script(tmp_path, "lint", "prod", pulumi=pulumi, ESC_ENVIRONMENT="example/sms/prod")
    assert (done.stdout, done.returncode) == ("env run example/sms/prod --\nvalue: lint\n", 0)


def test_rotation_makes_no_password_when_a_line_of_the_publish_command_fails(tmp_path: Path) -> None:
    done = run_script(tmp_path, "rotate", "prod", "prepare", pulumi='echo "pulumi $*"', ROTATE_PUBLISH="false\ntrue\n")
    assert done.returncode == 1
    assert "pulumi --non-interactive --color never config set thingspace:rotation" in done.stdout
    assert " up " not in done.stdout


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("error: no changes were expected but changes were proposed", "stack prod has changes that are not applied"),
        ("error: no credentials", "the preview before the rotation failed"),
    ],
)
def test_rotation_names_why_it_did_not_start(tmp_path: Path, output: str, message: str) -> None:
    done = run_script(tmp_path, "rotate", "prod", "prepare", pulumi=f'echo "{output}"; exit 1')
    assert done.returncode == 1
    assert f"Error: {message}" in done.stderr


def test_comment_is_written_after_a_failed_preview_too() -> None:
    workflow = yaml.safe_load((PIPELINES / "github" / "thingspace-change.yml").read_text())["jobs"]
    [upload] = [step for step in workflow["preview"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert "!cancelled()" in upload["if"]
    assert "!cancelled()" in workflow["comment"]["if"]
    assert '"failure"' in workflow["comment"]["if"]
    text = GITLAB.read_text()
    for job in ("preview", "comment"):
        assert "when: always" in re.split(r"\n(?=\S)", text.split(f"\n{job}:\n")[1])[0]
