"""The documents describe what exists, and what exists is in the documents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from thingspace_provider.cli import COMMANDS

TOP = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = {
    str(path.relative_to(TOP)): path.read_text(encoding="utf-8")
    for path in sorted(
        [
            *TOP.glob("*.md"),
            *TOP.glob("docs/**/*.md"),
            *TOP.glob("examples/**/*.md"),
            *TOP.glob("policy/*.md"),
            *TOP.glob(".github/**/*.md"),
        ]
    )
}
README = DOCUMENTS["README.md"]


@pytest.mark.starts_process
@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_documented_and_its_help_has_an_example(command: str) -> None:
    assert f"`thingspace {command}`" in DOCUMENTS["ARCHITECTURE.md"]
    result = subprocess.run(
        [sys.executable, "-m", "thingspace_provider.cli", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "Example" in result.stdout


def test_program_in_the_readme_is_complete_and_uses_exported_names(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    compile(program, str(tmp_path), "exec")
    for module, names in re.findall(r"from (thingspace_provider\S*) import (.*)", program):
        exported = __import__(module, fromlist=["__all__"]).__all__
        assert {name.strip() for name in names.split(",")} <= set(exported)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 220


@pytest.mark.parametrize("document", DOCUMENTS)
def test_link_leads_to_a_file_and_a_heading(document: str) -> None:
    text = re.sub(r"^( *```).*?^\1", "", DOCUMENTS[document], flags=re.DOTALL | re.MULTILINE)
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        target = (TOP / document).parent / path if path else TOP / document
        assert target.exists(), path
        if anchor and not anchor.startswith("thingspace_provider."):  # the site makes an anchor for each Python object
            assert anchor in _anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_path_in_a_document_exists(document: str) -> None:
    if document in {"DECISIONS.md", "CHANGELOG.md"}:  # they also describe earlier states
        return
    names = re.findall(
        r"`((?:thingspace_provider|stacks|docs|tools|tests|benchmarks)/[\w./]*|\w+\.(?:py|toml|yml))`",
        DOCUMENTS[document],
    )
    for name in names:
        folders = (TOP, (TOP / document).parent)
        assert any((folder / name).exists() for folder in folders) or any((TOP / "thingspace_provider").rglob(name)), (
            name
        )


def test_readme_has_every_guide_and_every_layer() -> None:
    guides = {f"docs/{path.name}" for path in (TOP / "docs").glob("*.md")}
    assert {guide for guide in guides if f"]({guide})" not in README} == set()
    folders = {path.name for path in (TOP / "thingspace_provider").iterdir() if path.is_dir() and path.name[0] != "_"}
    named = set(re.findall(r"`thingspace_provider/(\w+)/", README))
    assert folders - named == {"common"}


def test_site_has_every_page() -> None:
    site = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    for path in (TOP / "docs").rglob("*.md"):
        assert f": {path.relative_to(TOP / 'docs')}\n" in site


def _anchors(text: str) -> set[str]:
    """The anchors of the headings, as repository pages and the site make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
