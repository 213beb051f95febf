"""Schemas of earlier versions are migrated without a loss, and a schema does not change without a migration."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from tests.support.listener_process import ACCOUNT, OTHER_ACCOUNT
from tests.support.postgres_server import PostgresServer, open_postgres_store
from thingspace_provider.listener.callback_parser import parse_history_message
from thingspace_provider.listener.model import Delivery, Device, IncomingCallback, MessageQuery
from thingspace_provider.listener.store.postgres import schema
from thingspace_provider.listener.store.sqlite.store import SqliteStore

DATA = Path(__file__).parent / "data"
SQLITE_VERSION_1 = DATA / "inbox-version-1.sqlite3"  # five messages for the sink "hub", two outcomes, one failure
POSTGRES_VERSION_1 = DATA / "postgres-version-1.sql"
POSTGRES_ROW = {
    "account": ACCOUNT,
    "kind": "text",
    "devices": '[["mdn", "1"]]',
    "device_ids": ["1"],
    "text": "T=1",
    "dedup_key": "0" * 32,
    "dedup_window_us": 1,
    "received_at": 1,
    "body": "7b7d",
    "ordering_key": 1,
}
POSTGRES_SCHEMA = """
SELECT table_name || '.' || column_name, data_type || is_nullable || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'thingspace'
UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'thingspace'
UNION ALL SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'thingspace'::regnamespace
UNION ALL SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'thingspace'::regnamespace
ORDER BY 1, 2
"""
CUT_MIGRATION = """
import os, sys, apsw
from pathlib import Path
from thingspace_provider.listener.store.sqlite import schema
schema.MIGRATIONS = (*schema.MIGRATIONS, "CREATE TABLE added (id INTEGER)", "SELECT cut()")
apsw.connection_hooks.append(lambda connection: connection.create_scalar_function("cut", lambda: os._exit(9)))
from thingspace_provider.listener.store.sqlite.store import SqliteStore
SqliteStore(Path(sys.argv[1]))
"""


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """Copy of the file of version 1."""
    return Path(shutil.copy(SQLITE_VERSION_1, tmp_path / "inbox.sqlite3"))


def read_sqlite_schema(path: Path) -> list[tuple[str, str]]:
    """Return the statements of a schema without comments and white space."""
    with apsw.Connection(str(path)) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name"
        ).fetchall()
    return [(name, re.sub(r"--[^\n]*|\s", "", sql)) for name, sql in rows]


def test_messages_outbox_and_values_are_kept_when_a_file_of_version_1_is_opened(old_file: Path) -> None:
    store = SqliteStore(old_file, ["hub"])
    messages = store.find(MessageQuery(limit=100))
    assert [(message.id, message.account, message.kind, message.text) for message in messages] == [
        (1, ACCOUNT, "text", "T=1"),
        (2, ACCOUNT, "text", "T=1"),
        (3, ACCOUNT, "text", "Grüße\0 end"),
        (4, OTHER_ACCOUNT, "text", "other"),
        (5, ACCOUNT, "confirmation", None),
    ]
    assert [message.duplicate_of for message in messages] == [None, 1, None, None, None]
    assert messages[0].devices == (Device("iccid", "89148000001234567890"), Device("meid", "A1000001ABCDEF"))
    assert len(store.find(MessageQuery(limit=100, device="a1000001abcdef"))) == 5
    deliveries: list[Delivery] = []
    for message in messages:
        history = store.delivery_history(message.id)
        assert history is not None
        deliveries += history.deliveries
    assert [(delivery.state, delivery.attempts, delivery.last_error) for delivery in deliveries] == [
        ("delivered", 1, None),
        ("dead_letter", 1, "HTTP 410"),
        ("pending", 0, None),
        ("pending", 1, "HTTP 503"),
        ("pending", 0, None),
    ]
    lease = store.outbox.acquire("hub", 10, lease_seconds=1, batch_size=5)
    assert [[entry.message.id for entry in batch] for batch in lease.batches] == [[3, 5], [4]]
    assert store.coordination.get_value(f"recovery_run {ACCOUNT}") == 1_772_352_930_250_000
    store.close()


def test_a_migrated_file_has_the_schema_of_a_new_file(old_file: Path, tmp_path: Path) -> None:
    SqliteStore(old_file).close()
    SqliteStore(tmp_path / "new.sqlite3").close()
    assert read_sqlite_schema(old_file) == read_sqlite_schema(tmp_path / "new.sqlite3")


def test_a_migrated_file_is_unchanged_when_it_is_opened_again(old_file: Path) -> None:
    SqliteStore(old_file).close()
    before = old_file.read_bytes()
    SqliteStore(old_file).close()
    assert old_file.read_bytes() == before


def test_a_file_keeps_its_version_when_the_process_ends_during_a_migration(old_file: Path) -> None:
    before = read_sqlite_schema(old_file)
    ended = subprocess.run([sys.executable, "-c", CUT_MIGRATION, str(old_file)], env=os.environ, check=False)
    assert ended.returncode == 9
    with apsw.Connection(str(old_file)) as connection:
        assert connection.pragma("user_version") == 1
    assert read_sqlite_schema(old_file) == before
    store = SqliteStore(old_file)
    assert len(store.find(MessageQuery(limit=100))) == 5
    store.close()


def test_values_are_read_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    for value in (7, 8):
        store.coordination.set_value("a", value)
    store.close()
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    assert (store.coordination.get_value("a"), store.coordination.get_value("b")) == (8, 0)
    store.close()


def test_a_database_of_version_1_is_migrated_to_the_schema_of_a_new_database(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    open_postgres_store(url).close()
    with psycopg.connect(url) as connection:
        new_schema = connection.execute(POSTGRES_SCHEMA).fetchall()
    url = postgres.create_database()
    with psycopg.connect(url) as connection:
        connection.execute(POSTGRES_VERSION_1.read_bytes())
        connection.execute("SELECT thingspace.append(%s::json, '{a}')", (json.dumps([POSTGRES_ROW]),))
    store = open_postgres_store(url, "a")
    [first] = store.find(MessageQuery(limit=10))
    store.append([IncomingCallback(ACCOUNT, 5, parse_history_message({"message": "T=1"}), first.id)])
    assert [message.duplicate_of for message in store.find(MessageQuery(limit=10))] == [None, first.id]
    assert [backlog.pending for backlog in store.outbox.backlogs()] == [2]
    store.close()
    with psycopg.connect(url) as connection:
        assert connection.execute(POSTGRES_SCHEMA).fetchall() == new_schema
        version = connection.execute("SELECT version FROM thingspace.schema_version").fetchone()
    assert version == (len(schema.MIGRATIONS),)
