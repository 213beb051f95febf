"""Reader of the SQLite store: rows that a query examines, and the end of running queries."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import apsw
import pytest

from tests.support.listener_process import ACCOUNT, build_text_callback
from tests.support.waiting import join_thread, wait_until
from thingspace_provider.listener.callback_parser import parse_body
from thingspace_provider.listener.model import TEXT, IncomingCallback, MessageQuery
from thingspace_provider.listener.store.base import StoreError
from thingspace_provider.listener.store.query_sql import build_query
from thingspace_provider.listener.store.sqlite.reader import SqliteReader
from thingspace_provider.listener.store.sqlite.store import SqliteStore

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
STEPS = 1000  # instructions of SQLite's virtual machine


def test_a_minute_of_a_device_is_found_without_a_scan_of_all_its_messages(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite3"
    store = SqliteStore(path)
    callback = parse_body(json.dumps(build_text_callback("T=1", "5551230001")).encode()).to_callback()
    for batch in range(10):
        store.append(
            [IncomingCallback(ACCOUNT, (batch * 1000 + number) * 1_000_000, callback) for number in range(1000)]
        )
        store.run_maintenance()
    minute = MessageQuery(
        limit=1000,
        account=ACCOUNT,
        kind=TEXT,
        device="5551230001",
        received_from=5_000_000_000,
        received_until=5_060_000_000,
    )
    assert len(store.find(minute)) == 61
    store.close()
    progress_calls = [0]

    def count_call() -> bool:
        progress_calls[0] += 1
        return False

    connection = apsw.Connection(str(path))
    connection.set_progress_handler(count_call, STEPS)
    query, values = build_query(minute, SqliteReader.query_conditions)
    assert len(connection.execute(query, values).fetchall()) == 61
    connection.close()
    assert progress_calls[0] * STEPS < 10_000


def test_a_reader_is_interrupted_when_the_store_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite3"
    SqliteStore(path).close()
    reader = SqliteReader(path)
    errors: list[str] = []

    def run_endless_query() -> None:
        try:
            reader.fetch_rows(ENDLESS, {})
        except StoreError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run_endless_query)
    thread.start()
    wait_until(lambda: any(opened.lock.locked() for opened in reader._connections), 60, "the query runs")  # noqa: SLF001  the public interface does not show it
    reader.close()
    join_thread(thread)
    assert len(errors) == 1
    with pytest.raises(StoreError, match="closed"):
        reader.fetch_rows("SELECT 1", {})
