"""tools/release.py sets one version and cuts the changelog, or changes nothing."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from tools import release

TOP = Path(__file__).resolve().parent.parent.parent
DATE = dt.date(2026, 12, 1)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n")
    return tmp_path


def test_release_sets_the_version_and_dates_the_changes(project: Path) -> None:
    release.prepare(project, "0.2.0", DATE)
    assert 'version = "0.2.0"\n' in (project / "pyproject.toml").read_text()
    expected = "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-01\n\n### Added\n\n- A thing.\n"
    assert (project / "CHANGELOG.md").read_text() == expected


@pytest.mark.parametrize("version", ["0.2", "v0.2.0", "0.2.0rc1", "0.1.0"])
def test_release_that_cannot_be_made_changes_nothing(version: str, project: Path) -> None:
    (project / "CHANGELOG.md").write_text("## Unreleased\n\n- A thing.\n\n## 0.1.0 - 2026-01-01\n")
    before = {path: path.read_text() for path in project.iterdir()}
    with pytest.raises(release.ReleaseError):
        release.prepare(project, version, DATE)
    assert {path: path.read_text() for path in project.iterdir()} == before


def test_release_without_changes_is_rejected(project: Path) -> None:
    release.prepare(project, "0.2.0", DATE)
    with pytest.raises(release.ReleaseError, match="no changes"):
        release.prepare(project, "0.3.0", DATE)


def test_notes_are_the_changes_of_the_tag(project: Path) -> None:
    release.prepare(project, "0.2.0", DATE)
    changelog = project / "CHANGELOG.md"
    changelog.write_text(changelog.read_text() + "\n## 0.1.0 - 2026-01-01\n\n- An older thing.\n")
    assert release.read_notes(project, "v0.2.0") == "### Added\n\n- A thing."


@pytest.mark.parametrize("tag", ["v0.3.0", "0.2.0", "v0.1.0"])
def test_notes_are_rejected_when_the_tag_is_not_the_version(tag: str, project: Path) -> None:
    release.prepare(project, "0.2.0", DATE)
    with pytest.raises(release.ReleaseError):
        release.read_notes(project, tag)
