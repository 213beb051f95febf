"""The real engine on a copy of the real program."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulator_process import EmulatorProcess
from tests.support.pulumi_project import Project


@pytest.fixture
def project(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Project]:
    """Stack dev, initialised and never brought up, pointed at the emulator."""
    if shutil.which("pulumi") is None:
        pytest.fail("there is no `pulumi` on PATH: run the tests with `make test`, which gets one")
    project = Project(tmp_path, emulator.environment)
    project.init("dev")
    yield project
    project.stop_listeners()


@pytest.fixture
def deployed(project: Project) -> Project:
    """Stack dev, brought up."""
    project.up()
    return project
