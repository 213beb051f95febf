"""Each example is copied to an empty folder, and the commands of its README run as written, with the built wheel."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.example_commands import (
    BASH,
    EXAMPLES,
    build_environment,
    build_wheel,
    check_output,
    copy_example,
    run_commands,
)

LOCAL_EXAMPLES = ("minimal", "own-listener", "several-users", "automation-api", "without-pulumi")
MESSAGE = "T=21.5"
# What a run prints, beyond the exit status of each command.
EXPECTED_OUTPUT = {
    "minimal": [r"\+ 6 created", MESSAGE, "- 6 deleted"],
    "own-listener": [r"\+ 3 created", rf'"smsMessage": "{MESSAGE}"', "- 5 deleted"],
    "several-users": [r"\+ 11 created", "0000987654-00002", "- 11 deleted"],
    "automation-api": [
        r"\+ 8 created",
        r"\+ 2 created",
        "0000987654-00001 is sent to http://127.0.0.1:",
        "- 10 deleted",
    ],
    "without-pulumi": ["2 passed"],
}
# Commands without the package index run in namespaces of their own, because the examples use fixed ports. Processes of
# a failed run end with it.
OWN_NETWORK = (
    *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
)


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the built wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build_wheel(folder)
    return folder


def test_every_example_is_in_the_list_and_run() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {*LOCAL_EXAMPLES, "kubernetes"}  # tests/cluster runs that
    assert folders == {
        *re.findall(r"^\| \[([\w-]+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE),
    }
    assert folders == {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert folders == {path.parent.name for path in EXAMPLES.glob("*/requirements.txt")}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own needs root")
@pytest.mark.parametrize("name", LOCAL_EXAMPLES)
def test_commands_of_the_readme_work_as_written(name: str, distribution: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    commands = copy_example(name, folder)
    environment = build_environment(distribution, tmp_path)
    run_commands(commands[:2], BASH, environment, folder)
    output = run_commands(commands[2:], (*OWN_NETWORK, *BASH), environment, folder)
    check_output(output, EXPECTED_OUTPUT[name])
