"""Wheel and source distribution are complete, valid, and the same in every build."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
SOURCES = subprocess.run(
    ["git", "ls-files", "thingspace_provider"], cwd=TOP, capture_output=True, text=True, check=True
).stdout.splitlines()


def build(source: Path, folder: Path) -> dict[str, Path]:
    """Build both distributions from a folder, and return them by their suffix."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(TOP, tmp_path_factory.mktemp("dist"))


def test_wheel_holds_every_file_of_the_package_and_nothing_else(distributions: dict[str, Path]) -> None:
    names = zipfile.ZipFile(distributions[".whl"]).namelist()
    assert sorted(name for name in names if ".dist-info/" not in name) == sorted(SOURCES)


def test_metadata_and_content_are_valid(distributions: dict[str, Path]) -> None:
    wheel, source = str(distributions[".whl"]), str(distributions[".gz"])
    for program, *arguments in (["twine", "check", "--strict", wheel, source], ["check-wheel-contents", wheel]):
        done = subprocess.run([str(BIN / program), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_builds_are_the_same_at_another_time_and_place(distributions: dict[str, Path], tmp_path: Path) -> None:
    again = build(TOP, tmp_path / "again")
    assert _digest(again[".gz"]) == _digest(distributions[".gz"])
    with tarfile.open(distributions[".gz"]) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert _digest(build(source, tmp_path / "dist")[".whl"]) == _digest(distributions[".whl"])


@pytest.mark.long
def test_release_files_are_built_and_checked_by_one_command(tmp_path: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, tmp_path / name)
    command = ["make", "-o", ".venv/ready", f"BIN={BIN}", "dist-check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    components = json.loads((tmp_path / "build" / "sbom.cdx.json").read_text())["components"]
    locked = re.findall(r"^([\w.-]+)==(\S+)", (TOP / "deploy" / "requirements.txt").read_text(), re.MULTILINE)
    assert sorted((part["name"], part["version"]) for part in components) == sorted(locked)
    assert len(list((tmp_path / "dist").iterdir())) == 2


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
