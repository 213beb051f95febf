"""Documents read the same on repository pages and on the site."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "mkdocs_hooks.py"
SPEC = importlib.util.spec_from_file_location("mkdocs_hooks", FILE)
assert SPEC
assert SPEC.loader
hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)


@pytest.mark.parametrize(
    ("page", "markdown", "expected"),
    [
        ("index.md", "[layers](ARCHITECTURE.md#layers)", "[layers](architecture.md#layers)"),
        ("index.md", "![flow](docs/images/callback-flow.svg)", "![flow](images/callback-flow.svg)"),
        ("emulator.md", "[start](../README.md)", "[start](index.md)"),
        ("reference/client.md", "[start](../../README.md#stack-file)", "[start](../index.md#stack-file)"),
        ("reference/client.md", "[emulator](../emulator.md)", "[emulator](../emulator.md)"),
    ],
)
def test_link_leads_to_page_of_site(page: str, markdown: str, expected: str) -> None:
    assert hooks.translate(markdown, page) == expected


def test_link_becomes_text_when_target_is_not_on_site() -> None:
    assert hooks.translate("the [licence](LICENSE)", "index.md") == "the licence"


def test_link_is_unchanged_when_target_is_missing() -> None:
    assert hooks.translate("[gone](missing.md)", "index.md") == "[gone](missing.md)"


def test_fenced_code_is_unchanged() -> None:
    code = "```text\n1. one\n   [start](README.md)\n```"
    assert hooks.translate(f"before\n\n{code}\n\nafter", "index.md") == f"before\n\n{code}\n\nafter"


def test_paragraph_of_list_item_is_indented() -> None:
    markdown = "1. one\n2. two\n\n   more\n3. three\n\nafter"
    assert hooks.translate(markdown, "index.md") == "1. one\n2. two\n\n    more\n\n3. three\n\nafter"


def test_page_of_commands_has_the_help_of_subcommands() -> None:
    sections = list(hooks.help_of_commands())
    assert [section for section in sections if section.startswith("## thingspace messages retry\n")]
    assert all("Usage: thingspace" in section for section in sections)
