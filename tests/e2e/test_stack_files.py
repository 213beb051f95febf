"""`thingspace lint` and the engine read a stack file alike."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.support.pulumi_project import Project
from thingspace_provider.config.stack_linter import StackFile, lint_files
from thingspace_provider.config.yaml_positions import compose_file

SCALARS = [
    *("yes", "no", "on", "off", "y", "n", "Yes", "tRUE", "true", "True", "TRUE", "false", "~", "null", "NULL"),
    *("0o17", "017", "0017", "+017", "-017", "089", "08", "1:30", "190:20:30", "1_000", "1_0.5", "_5", "-_5", "0_17"),
    *(".5", "5.", "1.0", "+1", "-0", "-0.0", "0x1F", "0X1f", "0x1_f", "0b11", "-0b11", "0B11", "0b12", "0x", "0o8"),
    *("1e3", "1.5e3", "1E3", "1e+3", "1e-3", "1e18", "1e400", "1e-400", "inf", "NaN", ".", "+", "1.2.3"),
    *("0000123456-00001", "0000123456", "1234567890", "9007199254740993"),
    *("9223372036854775807", "-9223372036854775808", "0xfffffffffffffffff", "0.1", "0.10"),
    *("2026-13-45", "=", '"yes"', "'1'", "!!str 12", '!!int "12"', "!!float 1", "!!float 1.5", '!!null ""'),
]
MERGES = [
    "{kind: a, <<: {kind: b, url: c}}",
    "{<<: [{kind: a}, {kind: b, url: c, <<: {kind: d, port: 1}}], x: y}",
    "{!!merge '<<': {kind: a}}",
    "{<<: []}",
    "{1: a, 017: b, 1.5: c, true: d, yes: e, 1e3: f, '': g}",
]


@pytest.mark.parametrize("shape", ["{}", "[{}]"])
def test_lint_and_the_engine_read_a_stack_file_alike(project: Project, shape: str) -> None:
    given = [shape.format(value) for value in (*SCALARS, *MERGES)]
    lines = [f"  thingspace:k{index}: {value}" for index, value in enumerate(given)]
    merged = "[{thingspace:own: second, thingspace:two: ['1']}, {thingspace:two: ['2'], thingspace:three: 3}]"
    lost = "config: {thingspace:lost: 1}"
    project.write_stack("\n".join([f"<<: {{{lost}}}", "config:", *lines, "  thingspace:own: first", f"  <<: {merged}"]))
    command = ["pulumi", "config", "--json", "--stack", "dev"]
    done = subprocess.run(command, cwd=project.folder, env=project.environment, check=True, capture_output=True)
    engine = {key.partition(":")[2]: pass_through_engine(entry) for key, entry in json.loads(done.stdout).items()}
    file = project.folder / "stacks" / "Pulumi.dev.yaml"
    values = StackFile(file, compose_file(file)).values
    assert {key: (write_stack_file(key, given), value) for key, value in values.items()} == {
        key: (write_stack_file(key, given), value) for key, value in engine.items()
    }


def test_lint_names_the_accounts_that_the_engine_has_changed(project: Project) -> None:
    project.write_stack("config:\n  thingspace:accounts:\n    - 0000123456\n    - 0000123459\n")
    for index, account in enumerate(["0000987654-00001", "0000987654", "1234567890"], 2):
        project.configure(f"thingspace:accounts[{index}]", account, "--path")
    file = project.folder / "stacks" / "Pulumi.dev.yaml"
    written = [line.strip("- ") for line in file.read_text().splitlines() if line.startswith("    - ")]
    assert written == ["42798", "123459", "0000987654-00001", '"0000987654"', "1234567890"]
    findings, _ = lint_files([file])
    assert [finding.fix for finding in findings if "thingspace:accounts:" in finding.message] == [
        'Look up the account name and quote it. It can be "0000042798" or "0000123456".',
        'Look up the account name and quote it. It can be "0000123459" or "0000361103".',
        'Write "1234567890".',
    ]


def pass_through_engine(entry: dict[str, Any]) -> Any:
    """Return the value of a key from `pulumi config --json`."""
    return json.loads(entry["value"]) if "objectValue" in entry else entry["value"]


def write_stack_file(key: str, given: list[str]) -> str:
    """Return the YAML of a key, to show it when the test fails."""
    return given[int(key[1:])] if key[1:].isdigit() else ""
