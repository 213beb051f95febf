"""File locks: exclusion between holders, timeouts, and what the file looks like."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from thingspace_provider.common.file_lock import FileLock, is_locked

HOLD_LOCK = """
import sys, time
from pathlib import Path
from thingspace_provider.common.file_lock import FileLock
assert FileLock(Path(sys.argv[1])).acquire()
print("locked", flush=True)
time.sleep(60)
"""


def test_a_second_lock_fails_until_the_first_is_released(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_acquire_waits_at_most_until_the_timeout(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    began = time.monotonic()
    assert not second.acquire(timeout_seconds=0.2, poll_seconds=0.01)
    assert time.monotonic() - began >= 0.2
    first.release()
    second.release()


@pytest.mark.starts_process
def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD_LOCK, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    assert is_locked(path)
    holder.kill()
    holder.communicate()
    assert not is_locked(path)


def test_a_missing_file_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")


def test_the_file_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_locked_file_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("content")
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    assert (tmp_path / "lock").read_text() == "content"
    lock.release()


def test_a_second_release_closes_no_descriptor_that_another_file_has_now(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.release()
    with (tmp_path / "other").open("w") as other:
        lock.release()
        other.write("still open")
