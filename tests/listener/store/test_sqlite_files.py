"""Files of the SQLite store: removed, replaced, missing or too large."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.store_replica import build_incoming_callback
from thingspace_provider.listener.model import MessageQuery
from thingspace_provider.listener.store.base import Delivered, StoreError, StoreOpenError
from thingspace_provider.listener.store.sqlite.store import SqliteStore

Start = Callable[..., ListenerProcess]
MAX_BYTES = 40_000_000  # MAX_WAL_BYTES and one commit


def remove_file(path: Path) -> None:
    path.unlink()


def remove_wal(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def remove_wal_index(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink()


def replace_file(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize("change", [remove_file, remove_wal, remove_wal_index, replace_file, move_directory])
def test_callbacks_are_rejected_when_the_store_is_removed(
    start: Start, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "store" / "inbox.sqlite3"
    path.parent.mkdir()
    listener = start(store=f"sqlite:///{path}")
    assert listener.post(build_text_callback("before")).status_code == 200
    assert listener.message_texts() == ["before"]
    change(path)
    assert listener.post(build_text_callback("after")).status_code == 503
    readiness = listener.get("/readyz")
    assert readiness.status_code == 503
    assert "was removed or replaced" in readiness.json()["reason"]


def test_sinks_receive_messages_and_new_ones_wait_until_the_file_is_moved_back(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite3"
    store = SqliteStore(path, ["a"])
    store.append([build_incoming_callback("before", 1)])
    path.rename(tmp_path / "moved")
    for _ in range(2):
        with pytest.raises(StoreError, match="was removed or replaced"):
            store.append([build_incoming_callback("rejected", 1)])
    lease = store.outbox.acquire("a", 10, lease_seconds=60)
    store.outbox.record_outcomes(lease, [Delivered(entry.message.id) for batch in lease.batches for entry in batch])
    (tmp_path / "moved").rename(path)
    store.append([build_incoming_callback("after", 1)])
    store.close()
    store = SqliteStore(path, ["a"])
    assert [message.text for message in store.find(MessageQuery(limit=10))] == ["before", "after"]
    assert [backlog.pending for backlog in store.outbox.backlogs()] == [1]
    store.close()


def test_a_store_is_rejected_when_its_directory_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mount" / "inbox.sqlite3"
    with pytest.raises(StoreOpenError, match=rf"{path} cannot be used as a store: .* {path.parent} does not exist"):
        SqliteStore(path)
    assert not path.parent.exists()


def test_the_write_ahead_log_is_bounded_after_a_long_read(tmp_path: Path) -> None:
    path, wal = tmp_path / "inbox.sqlite3", tmp_path / "inbox.sqlite3-wal"
    store = SqliteStore(path)
    store.append([build_incoming_callback("first", 1)])
    reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()

    def append_many() -> None:
        store.append([build_incoming_callback("x" * 4000, 1)] * 2000)
        store.run_maintenance()

    while wal.stat().st_size < 1.5 * MAX_BYTES:
        append_many()
    reader.close()
    append_many()
    append_many()
    assert wal.stat().st_size < MAX_BYTES
    store.close()
