"""A store file that an earlier version wrote is opened, brought up to date, and nothing of it is lost."""

from __future__ import annotations

import json
import os
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
from thingspace_provider.listener import callback_parser
from thingspace_provider.listener.callback_parser import Device
from thingspace_provider.listener.store.base import IncomingCallback, MessageQuery, StoredMessage
from thingspace_provider.listener.store.postgres.schema import SCHEMA_VERSION
from thingspace_provider.listener.store.sqlite import schema
from thingspace_provider.listener.store.sqlite.store import SqliteStore

# Written by the listener of version 0.1.0: five callbacks over HTTP, then SIGTERM.
VERSION_1 = Path(__file__).parent / "data" / "inbox-version-1.sqlite3"
ROW_1 = {"kind": "text", "text": "T=1", "same": "0" * 32, "span": 1, "received": 1, "raw": "7b7d", "lane": 1}
POSTGRES_1 = Path(__file__).parent / "data" / "postgres-version-1.sql"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(VERSION_1, tmp_path / "inbox.sqlite3"))


def find_messages(store: SqliteStore, **narrowed: Any) -> list[StoredMessage]:
    return store.find(MessageQuery(**{"limit": 100, **narrowed}))


def test_everything_of_version_1_is_there_and_can_be_selected(file: Path) -> None:
    store = SqliteStore(file, ["a"])
    stored = find_messages(store)
    assert [(message.id, message.account, message.kind, message.text) for message in stored] == [
        (1, ACCOUNT, "text", "T=1"),
        (2, ACCOUNT, "text", "T=1"),
        (3, ACCOUNT, "text", "Grüße\0 end"),
        (4, OTHER_ACCOUNT, "text", "other"),
        (5, ACCOUNT, "confirmation", None),
    ]
    assert [one.duplicate_of for one in stored] == [None, 1, None, None, None]
    assert {one.stored_at for one in stored} == {None}
    assert stored[0].devices == (Device("iccid", "89148000001234567890"), Device("meid", "A1000001ABCDEF"))
    assert [one.id for one in find_messages(store, device="a1000001abcdef")] == [1, 2]
    assert store.outbox.acquire("a", 10, lease_seconds=1).batches == ()
    store.close()


def test_a_migrated_file_is_opened_again_as_it_is(file: Path) -> None:
    SqliteStore(file).close()
    before = file.read_bytes()
    SqliteStore(file).close()
    assert file.read_bytes() == before


def test_a_migration_that_is_cut_off_leaves_version_1(file: Path) -> None:
    """The process ends inside the migration's transaction, when all its steps but the last are done."""
    cut = (
        "import os, sys, apsw\n"
        "from pathlib import Path\n"
        "from thingspace_provider.listener.store.sqlite import schema\n"
        "schema.VERSIONS = (*schema.VERSIONS, 'SELECT cut()')\n"
        "apsw.connection_hooks.append(lambda c: c.create_scalar_function('cut', lambda: os._exit(9)))\n"
        "from thingspace_provider.listener.store.sqlite.store import SqliteStore\n"
        "SqliteStore(Path(sys.argv[1]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", cut, str(file)], env=os.environ, check=False)
    assert ended.returncode == 9
    connection = apsw.Connection(str(file))
    assert connection.pragma("user_version") == 1
    assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'outbox'").fetchall() == []
    connection.close()
    store = SqliteStore(file)
    assert len(find_messages(store)) == 5
    store.close()


def test_recorded_values_are_there_after_a_restart_also_in_a_file_of_version_3(file: Path) -> None:
    connection = apsw.Connection(str(file))
    for step in schema.VERSIONS[1:3]:
        connection.execute(step)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    store = SqliteStore(file)
    assert len(find_messages(store)) == 5
    assert store.coordination.get_value("a") == 0
    for number in (7, 8):
        store.coordination.set_value("a", number)
    store.close()
    store = SqliteStore(file)
    assert (store.coordination.get_value("a"), store.coordination.get_value("b")) == (8, 0)
    store.close()


def test_a_database_of_version_1_supports_new_functions(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    with psycopg.connect(url) as connection:
        connection.execute(POSTGRES_1.read_bytes())
        connection.execute(
            "SELECT thingspace.append(%s::json, '{a}')",
            (json.dumps([{**ROW_1, "account": ACCOUNT, "devices": '[["mdn", "1"]]', "named": ["1"]}]),),
        )
    store = open_postgres_store(url, "a")
    [first] = store.find(MessageQuery(limit=10))
    store.append([IncomingCallback(ACCOUNT, 5, callback_parser.parse_history_message({"message": "T=1"}), first.id)])
    assert [message.duplicate_of for message in store.find(MessageQuery(limit=10))] == [None, first.id]
    store.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM thingspace.version").fetchall() == [(SCHEMA_VERSION,)]
