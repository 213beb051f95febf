"""What the documents promise exists, and what exists is in the documents."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from thingspace_provider.cli import COMMANDS
from thingspace_provider.config import stack_schema
from thingspace_provider.listener.settings import listener_settings as listener

TOP = Path(__file__).resolve().parent.parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (TOP / "ARCHITECTURE.md").read_text(encoding="utf-8")
SOURCES = [path.read_text(encoding="utf-8") for path in (TOP / "thingspace_provider").rglob("*.py")]


@pytest.mark.parametrize("key", sorted(stack_schema.KNOWN_KEYS))
def test_every_key_of_the_stack_file_is_documented(key: str) -> None:
    assert f"`{key}`" in ARCHITECTURE


@pytest.mark.parametrize(
    "name", sorted({name for source in SOURCES for name in re.findall(r"THINGSPACE_[A-Z_]*[A-Z]", source)})
)
def test_every_environment_variable_is_documented(name: str) -> None:
    short = re.sub(r"^THINGSPACE(_LISTENER)?", "", name)
    assert name in ARCHITECTURE + README or f"`{short}`" in ARCHITECTURE


@pytest.mark.parametrize("key", sorted(listener.EXAMPLES))
def test_every_setting_of_the_listener_is_documented(key: str) -> None:
    assert f"`{key}`" in (TOP / "docs" / "listener.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented_and_has_help_with_an_example(command: str) -> None:
    assert f"`thingspace {command}`" in ARCHITECTURE
    result = subprocess.run(
        [sys.executable, "-m", "thingspace_provider.cli", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "Example" in result.stdout


def test_the_program_in_the_readme_is_a_whole_program(tmp_path: Path) -> None:
    [program] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    compile(program, str(tmp_path), "exec")
    for module, names in re.findall(r"from (thingspace_provider\S*) import (.*)", program):
        exported = __import__(module, fromlist=["__all__"]).__all__
        assert {name.strip() for name in names.split(",")} <= set(exported)


@pytest.mark.parametrize(
    "document",
    ["README.md", "ARCHITECTURE.md", "DECISIONS.md", "CHANGELOG.md", "docs/listener.md", "docs/forwarding.md"],
)
def test_every_link_between_documents_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (TOP / document).read_text(encoding="utf-8")):
        assert ((TOP / document).parent / target).exists(), target


def test_every_file_and_folder_that_the_readme_names_exists() -> None:
    for name in re.findall(r"`((?:thingspace_provider|stacks|docs|tools|tests)/[a-z_./]*)`", README):
        assert (TOP / name).exists(), name
