"""Finding, caching and building of the Pulumi CLI, and the errors when none is available."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.pulumi_cli.get import built_name

GET = Path(__file__).resolve().parent.parent.parent / "tools" / "pulumi_cli" / "get.py"
VERSION = "3.259.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path


def run_get(folder: Path, choice: str = "") -> subprocess.CompletedProcess[str]:
    """Run get.py as on a machine that has only the programs in folder/bin and no network."""
    return subprocess.run(
        [sys.executable, GET],
        env={
            "PATH": str(folder / "bin"),
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PULUMI_CLI": choice,
            "https_proxy": "http://127.0.0.1:9",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def write_program(folder: Path, name: str, prints: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\necho '{prints}'\n")
    file.chmod(0o755)
    return file


def test_a_pulumi_on_path_that_is_new_enough_is_used_as_it_is(folder: Path) -> None:
    write_program(folder / "bin", "pulumi", "v3.139.0")
    write_program(folder / "bin", "pulumi-language-python", "")
    result = run_get(folder)
    assert (result.returncode, result.stdout.strip()) == (0, str(folder / "bin"))
    assert result.stderr == ""


def test_a_pulumi_that_is_too_old_is_rejected_with_the_version_and_the_reason(folder: Path) -> None:
    write_program(folder / "bin", "pulumi", "v3.138.9")
    result = run_get(folder, "path")
    assert result.returncode == 1
    assert "is version v3.138.9; 3.139.0 or newer is required" in result.stderr
    assert "stack configuration to dynamic providers" in result.stderr


def test_a_pulumi_without_its_python_host_is_rejected(folder: Path) -> None:
    write_program(folder / "bin", "pulumi", "v3.259.0")
    assert "has no pulumi-language-python" in run_get(folder, "path").stderr


def test_a_cached_version_is_used_before_a_new_one_is_installed(folder: Path) -> None:
    cached = write_program(
        folder / "cache" / "thingspace-provider" / "pulumi-cli" / built_name(VERSION) / "bin", "pulumi", "x"
    )
    result = run_get(folder)
    assert (result.returncode, result.stdout.strip()) == (0, str(cached.parent))


def test_both_installation_methods_are_named_without_network_and_without_go(folder: Path) -> None:
    result = run_get(folder)
    assert (result.returncode, result.stdout) == (1, "")
    for part in (
        "`pulumi` is not on PATH",
        "the official installer cannot be reached",
        "`go` is not on PATH",
        "install Pulumi (https://www.pulumi.com/docs/install/)",
        "install Go 1.21 or newer",
    ):
        assert part in result.stderr
    assert "Traceback" not in result.stderr
    cache = folder / "cache" / "thingspace-provider" / "pulumi-cli"
    assert [made for made in cache.iterdir() if made.is_dir()] == []  # no incomplete folder is left


def test_an_unknown_choice_names_the_known_ones(folder: Path) -> None:
    assert "use path, install, build" in run_get(folder, "docker").stderr


def test_the_tests_run_with_the_pinned_version() -> None:
    version = subprocess.run(["pulumi", "version"], capture_output=True, text=True, check=True).stdout.strip()
    if os.environ.get("PULUMI_CLI") == "build":
        assert version == f"v{VERSION}"
    assert version.startswith("v3.")
