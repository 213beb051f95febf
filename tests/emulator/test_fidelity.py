"""Generates `docs/emulator-fidelity.md` from the behaviours and their tests, and checks that it is current.

`THINGSPACE_WRITE_DOCS=1 pytest tests/emulator/test_fidelity.py` writes it.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import thingspace_provider.emulator
from tests.emulator.fidelity_rows import BASIS_MEANINGS, ROWS, SECTIONS, UNKNOWN
from thingspace_provider.emulator.api.routes import ROUTES
from thingspace_provider.emulator.platform.faults import OPERATIONS
from thingspace_provider.emulator.platform.switches import SWITCHES

FOLDER = Path(__file__).parent
PACKAGE = Path(thingspace_provider.emulator.__file__ or "").parent
DOCUMENT = FOLDER.parent.parent / "docs" / "emulator-fidelity.md"

BEHAVIOUR = ("gateway", "tokens", "sessions", "registrations", "history", "sending", "messages", "delivery")
"""Test files of ThingSpace's behaviour. The others test the emulator as a tool."""


def collect_rows() -> dict[str, list[str]]:
    """Return the tests of each row as `file::test`, read from the source."""
    tests_by_row: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "holds":
                    for argument in mark.args:
                        tests_by_row.setdefault(str(ast.literal_eval(argument)), []).append(f"{path.name}::{node.name}")
    return tests_by_row


def render_document() -> str:
    """Render the page."""
    tests = collect_rows()
    lines = [
        "# Emulator fidelity",
        "",
        "This page lists each emulated behaviour of ThingSpace with its basis and its tests. It is generated from the",
        "tests; the test suite fails when it is out of date.",
        "",
        *(
            f"- **{basis}**: {meaning}. {sum(row.basis == basis for row in ROWS)} rows."
            for basis, meaning in BASIS_MEANINGS.items()
        ),
        "",
        "## Behaviours",
        "",
    ]
    for part in dict.fromkeys(row.part for row in ROWS):
        route = next(
            (f" `{candidate.method} /api{candidate.path}`" for candidate in ROUTES if candidate.operation == part), ""
        )
        lines += [f"### {part}{route}", "", "| behaviour | basis | reference | tests |", "|---|---|---|---|"]
        for row in ROWS:
            if row.part == part:
                test_names = "<br>".join(f"`{name}`" for name in tests[row.name])
                lines.append(f"| {row.behaviour} | {row.basis} | §{row.section} | {test_names} |")
        lines.append("")
    lines += ["## Switches", "", "A switch decides each behaviour that is unknown. The first value is the default.", ""]
    lines += ["| switch | question | values |", "|---|---|---|"]
    for switch in SWITCHES:
        lines.append(f"| `{switch.name}` | {switch.question} | {', '.join(f'`{value}`' for value in switch.choices)} |")
    lines += ["", "## References", ""]
    lines += ["The references are sections of the project's notes on the vendor's publications:", ""]
    lines += ["| section | subject and sources |", "|---|---|"]
    lines += [f"| §{number} | {subject} |" for number, subject in SECTIONS.items()]
    return "\n".join(lines) + "\n"


def test_every_row_has_a_test_and_every_mark_has_a_row() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(collect_rows()) == set(names)


def test_every_test_of_a_behaviour_has_a_row() -> None:
    marked = {name for names in collect_rows().values() for name in names}
    tests = {
        f"{path.name}::{node.name}"
        for path in (FOLDER / f"test_{name}.py" for name in BEHAVIOUR)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert len(tests) > 80
    assert tests <= marked


def test_every_operation_has_rows_and_every_row_a_known_section() -> None:
    assert [route.operation for route in ROUTES] == list(OPERATIONS)
    assert set(OPERATIONS) <= {row.part for row in ROWS}
    assert {row.section for row in ROWS} == set(SECTIONS)
    assert {row.basis for row in ROWS} == set(BASIS_MEANINGS)


def test_every_value_of_a_switch_is_tested() -> None:
    source = "".join((FOLDER / f"test_{name}.py").read_text() for name in BEHAVIOUR)
    untested = [
        f"{switch.name}={value}"
        for switch in SWITCHES
        for value in switch.choices[1:]
        if not re.search(rf"\b{switch.name}\b", source) or f'"{value}"' not in source
    ]
    assert untested == []
    assert sum(row.basis == UNKNOWN for row in ROWS) >= 18


def test_every_error_code_is_tested() -> None:
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    codes = set(re.findall(r'"((?:INPUT_INVALID|REQUEST_FAILED)\.[A-Za-z.]+|DeserializationFailed)"', source))
    tests = "".join((FOLDER / f"test_{name}.py").read_text() for name in BEHAVIOUR)
    assert len(codes) > 20
    missing = [
        code
        for code in sorted(codes)
        if code.removeprefix("INPUT_INVALID.").removeprefix("REQUEST_FAILED.") not in tests
    ]
    assert missing == []


def test_the_page_is_current() -> None:
    if os.environ.get("THINGSPACE_WRITE_DOCS"):
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(render_document())
    assert DOCUMENT.read_text() == render_document(), (
        "run: THINGSPACE_WRITE_DOCS=1 pytest tests/emulator/test_fidelity.py"
    )
