"""The stack files in the documents pass `thingspace lint`, and their defaults are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_documents import DOCUMENTS
from thingspace_provider.api.limits import Limits
from thingspace_provider.config import stack_linter, stack_schema

GUIDE = DOCUMENTS["docs/stack-file.md"]
BLOCKS = [
    block
    for document in ("README.md", "docs/stack-file.md")
    for block in re.findall(r"```yaml\n(config:.*?)```", DOCUMENTS[document], flags=re.DOTALL)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_example_has_no_finding(block: str, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.staging.yaml"
    file.write_text(block, encoding="utf-8")
    assert stack_linter.lint_files([file]) == ([], [])


def test_example_of_the_guide_has_every_key_except_credentials() -> None:
    keys = set(re.findall(r"^  thingspace:(\w+):", BLOCKS[1], flags=re.MULTILINE))
    assert set(stack_schema.KNOWN_KEYS) - keys == set(stack_schema.CREDENTIAL_SCHEMA)


def test_defaults_of_limits_are_in_the_table() -> None:
    limits = Limits()
    assert f"| `resourceTimeoutSeconds` | {limits.resource_timeout_seconds:g} |" in GUIDE
    assert f"| `callsPerSecond` | {limits.calls_per_second:g} |" in GUIDE
