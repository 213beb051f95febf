"""Fixtures: the real engine on a copy of the real program."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulator_process import EmulatorProcess
from tests.support.pulumi_project import Project


@pytest.fixture
def project(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Project]:
    """Stack dev, initialised for the emulator and not yet deployed."""
    if shutil.which("pulumi") is None:
        pytest.fail("`pulumi` is not on PATH: run the tests with `make test`, which installs it")
    project = Project(tmp_path, emulator.environment)
    project.init("dev")
    yield project
    project.stop_listeners()


@pytest.fixture
def deployed(project: Project) -> Project:
    """Stack dev, deployed."""
    project.up()
    return project
