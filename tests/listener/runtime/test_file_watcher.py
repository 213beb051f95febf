"""Watcher of settings and secret files, on a real file system."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from thingspace_provider.listener.runtime.file_watcher import FileWatcher

SECONDS = 30.0  # bounds a failing test
RARELY = 3600.0  # so that only an event of the file system can report the change


def write(folder: Path, name: str = "password") -> None:
    (folder / name).write_text("new")


def replace_as_kubernetes(folder: Path) -> None:
    """Replace the symbolic link `..data`, as the kubelet updates a mounted Secret."""
    (folder / "..2").mkdir()
    (folder / "..2" / "password").write_text("new")
    (folder / "..data_tmp").symlink_to("..2")
    (folder / "..data_tmp").rename(folder / "..data")
    shutil.rmtree(folder / "..1")


def rename_over(folder: Path) -> None:
    write(folder, "password.tmp")
    (folder / "password.tmp").rename(folder / "password")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A mounted Secret of Kubernetes."""
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "password").write_text("old")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "password").symlink_to("..data/password")
    return tmp_path / "password"


async def count_changes(watcher: FileWatcher, change: Callable[[], object]) -> int:
    """Make the change while the watcher runs, then one more, and return how many it has reported until then."""
    changed = asyncio.Event()
    count = 0

    def on_change() -> None:
        nonlocal count
        count += 1
        changed.set()

    task = asyncio.create_task(watcher.run(on_change))
    try:
        change()
        await asyncio.wait_for(changed.wait(), SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return count


@pytest.mark.parametrize("change", [replace_as_kubernetes, rename_over, write])
def test_changed_content_is_reported_once(secret: Path, change: Callable[[Path], None]) -> None:
    watcher = FileWatcher([secret], check_interval_seconds=0.2)
    assert asyncio.run(count_changes(watcher, lambda: change(secret.parent))) == 1


def test_change_is_reported_by_the_file_system_when_no_check_is_due(tmp_path: Path) -> None:
    file = tmp_path / "password"

    async def main() -> int:
        loop = asyncio.get_running_loop()
        number = 0

        def touch_again() -> None:  # until the watcher listens, events are lost
            nonlocal number
            number += 1
            file.write_text(str(number))
            handles[:] = [loop.call_later(0.1, touch_again)]

        handles: list[asyncio.TimerHandle] = []
        try:
            return await count_changes(FileWatcher([file], check_interval_seconds=RARELY), touch_again)
        finally:
            handles[0].cancel()

    assert asyncio.run(main()) >= 1


def test_change_between_construction_and_run_is_reported(secret: Path) -> None:
    watcher = FileWatcher([secret], check_interval_seconds=0.2)
    secret.write_text("new")
    assert asyncio.run(count_changes(watcher, lambda: None)) == 1


def test_missing_file_is_reported_when_it_appears(tmp_path: Path) -> None:
    watcher = FileWatcher([tmp_path / "password"], check_interval_seconds=0.2)
    assert asyncio.run(count_changes(watcher, lambda: write(tmp_path))) == 1


def test_other_files_of_the_directory_are_ignored(secret: Path) -> None:
    def change() -> None:
        (secret.parent / "another").write_text("x")
        rename_over(secret.parent)

    assert asyncio.run(count_changes(FileWatcher([secret], check_interval_seconds=0.2), change)) == 1
