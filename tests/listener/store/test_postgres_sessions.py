"""Sessions of the PostgreSQL store: how one is set up, and what replaces one that the server has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.pgbouncer import PROGRAM, pgbouncer
from tests.support.postgres_server import PostgresServer, open_postgres_store
from tests.support.store_replica import build_incoming_callback
from tests.support.waiting import join_thread, wait_until
from thingspace_provider.listener.model import MessageQuery
from thingspace_provider.listener.store.base import StoreError, StoreOpenError
from thingspace_provider.listener.store.postgres.connections import INDEX_SCANS_ONLY, PARAMETERS, ConnectionPool
from thingspace_provider.listener.store.postgres.store import PostgresStore

EVERYTHING = MessageQuery(limit=100)
EMOJI = "\N{BATTERY} 20 %"
SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'thingspace listener'"
ADD = "INSERT INTO thingspace.added VALUES (1)"
COUNT = "SELECT count(*) FROM thingspace.added"

Admin = psycopg.Connection[Any]
Start = Callable[..., ListenerProcess]


@pytest.fixture
def admin(postgres: PostgresServer) -> Iterator[Admin]:
    """Session of an administrator in an empty database; settings of role and database are reset afterwards."""
    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute("ALTER DATABASE postgres RESET ALL")
        connection.execute("ALTER ROLE CURRENT_USER RESET ALL")


@pytest.fixture
def store(postgres: PostgresServer, admin: Admin) -> Iterator[PostgresStore]:
    """Store that has stored one message."""
    del admin
    opened = open_postgres_store(postgres.url())
    opened.append([build_incoming_callback("before", 1)])
    yield opened
    opened.close()


@pytest.fixture
def pool(postgres: PostgresServer, admin: Admin) -> Iterator[ConnectionPool]:
    """Pool with one session, and an empty table."""
    admin.execute("CREATE SCHEMA thingspace; CREATE TABLE thingspace.added (number integer)")
    opened = ConnectionPool(postgres.url(), 60, INDEX_SCANS_ONLY, connect_timeout_seconds=60)
    opened.fetch_rows(COUNT)
    yield opened
    opened.close()


def end_sessions(admin: Admin) -> None:
    admin.execute(SESSIONS.replace("pid", "pg_terminate_backend(pid)").encode())
    wait_until_ended(admin)


def wait_until_ended(admin: Admin) -> None:
    wait_until(lambda: not admin.execute(SESSIONS).fetchall(), 30, "the sessions end")


def test_a_store_accepts_messages_when_the_database_is_writable_again(admin: Admin, store: PostgresStore) -> None:
    admin.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    end_sessions(admin)
    for _ in range(3):
        with pytest.raises(StoreError, match="read-only"):
            store.append([build_incoming_callback("meanwhile", 2)])
    admin.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    store.append([build_incoming_callback("after", 3)])
    assert [message.text for message in store.find(EVERYTHING)] == ["before", "after"]


@pytest.mark.parametrize("change", ["SET default_transaction_read_only = on", "SET ROLE pg_monitor"])
def test_a_statement_runs_in_a_new_session_when_its_session_cannot_write(pool: ConnectionPool, change: str) -> None:
    """A failover without a disconnect leaves such sessions."""
    pool.fetch_rows(change)
    pool.fetch_rows(ADD)
    assert pool.fetch_rows(COUNT) == [(1,)]


def test_a_statement_runs_in_a_new_session_when_the_server_has_ended_the_idle_one(
    admin: Admin, pool: ConnectionPool
) -> None:
    end_sessions(admin)
    pool.fetch_rows(ADD)
    pool.fetch_rows("SET idle_session_timeout = '50ms'")
    wait_until_ended(admin)
    pool.fetch_rows(ADD)
    assert pool.fetch_rows(COUNT) == [(2,)]


def test_a_callback_is_acknowledged_when_the_server_was_restarted(start: Start, postgres: PostgresServer) -> None:
    listener = start(store=postgres.create_database())
    assert listener.post(build_text_callback("before")).status_code == 200
    postgres.stop()
    postgres.start()
    assert listener.post(build_text_callback("after")).status_code == 200
    assert listener.message_texts() == ["before", "after"]


def test_a_statement_runs_once_when_its_session_ends_meanwhile(admin: Admin, pool: ConnectionPool) -> None:
    admin.execute("CREATE SEQUENCE thingspace.runs")
    errors: list[StoreError] = []

    def run() -> None:
        try:
            pool.fetch_rows("SELECT nextval('thingspace.runs'), pg_sleep(60)")
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    running = f"{SESSIONS} AND query LIKE '%pg_sleep%' AND state = 'active'"
    wait_until(lambda: admin.execute(running.encode()).fetchall(), 30, "the statement runs")
    end_sessions(admin)
    join_thread(thread)
    assert len(errors) == 1
    assert admin.execute("SELECT last_value FROM thingspace.runs").fetchone() == (1,)


def test_a_statement_that_timed_out_runs_once(postgres: PostgresServer, admin: Admin, pool: ConnectionPool) -> None:
    admin.execute("CREATE SEQUENCE thingspace.runs")
    brief = ConnectionPool(postgres.url(), 0.1, {}, connect_timeout_seconds=60, grace_seconds=60)
    brief.fetch_rows("SELECT 1")
    with pytest.raises(StoreError, match="statement timeout"):
        brief.fetch_rows("SELECT nextval('thingspace.runs'), pg_sleep(60)")
    assert pool.fetch_rows("SELECT last_value FROM thingspace.runs") == [(1,)]
    brief.close()


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        ("synchronous_commit", "off", "on"),
        ("default_transaction_isolation", "'repeatable read'", "read committed"),
        ("client_encoding", "'LATIN1'", "UTF8"),
        ("statement_timeout", "'5ms'", "1min"),
        ("lock_timeout", "'5ms'", "0"),
        ("enable_seqscan", "on", "off"),
        ("jit", "on", "off"),
    ],
)
def test_a_session_has_its_own_parameters_when_the_role_has_others(
    admin: Admin, pool: ConnectionPool, name: str, changed: str, expected: str
) -> None:
    admin.execute(f"ALTER ROLE CURRENT_USER SET {name} = {changed}".encode())
    end_sessions(admin)
    assert pool.fetch_rows(f"SHOW {name}") == [(expected,)]


needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is NOT TESTED here: install pgbouncer")


@needs_pgbouncer
@pytest.mark.parametrize("settings", [(), ("ignore_startup_parameters = options",)])
def test_a_store_keeps_its_promises_behind_a_pooler_of_sessions(
    start: Start, postgres: PostgresServer, admin: Admin, settings: tuple[str, ...]
) -> None:
    admin.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
    with pgbouncer(postgres, "pool_mode = session", *settings) as url:
        pool = ConnectionPool(url, 60, INDEX_SCANS_ONLY, connect_timeout_seconds=60)
        pool.fetch_rows("SELECT 1")
        for name, value in {**PARAMETERS, **INDEX_SCANS_ONLY, "statement_timeout": "1min"}.items():
            assert pool.fetch_rows(f"SHOW {name}") == [(value,)]
        pool.close()
        listener = start(store=url)
        assert listener.post(build_text_callback(EMOJI)).status_code == 200
        end_sessions(admin)
        wait_until(lambda: listener.post(build_text_callback(EMOJI)).status_code == 200, 30, "a message is stored")
        assert set(listener.message_texts()) == {EMOJI}
        listener.stop()


@needs_pgbouncer
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_of_transactions_is_rejected(postgres: PostgresServer, admin: Admin, mode: str) -> None:
    del admin
    with (
        pgbouncer(postgres, f"pool_mode = {mode}") as url,
        pytest.raises(StoreOpenError, match=r"shown cannot be used as a store: .* set its pool_mode to session"),
    ):
        open_postgres_store(url)


def test_messages_with_any_character_are_stored_when_role_and_environment_have_another_encoding(
    start: Start, postgres: PostgresServer, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.execute("ALTER ROLE CURRENT_USER SET client_encoding = 'LATIN1'")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    listener = start(store=postgres.url() + "?client_encoding=SQL_ASCII")
    assert listener.post(build_text_callback(EMOJI)).status_code == 200
    assert listener.message_texts() == [EMOJI]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_is_rejected_when_its_encoding_cannot_hold_every_message(
    postgres: PostgresServer, admin: Admin, encoding: str
) -> None:
    admin.execute(f"CREATE DATABASE narrow ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode())
    try:
        with pytest.raises(StoreOpenError, match=rf"database narrow has the encoding {encoding}.*ENCODING 'UTF8'"):
            open_postgres_store(postgres.url("narrow"))
    finally:
        admin.execute("DROP DATABASE narrow WITH (FORCE)")


def test_messages_are_committed_durably_when_their_session_has_lost_its_parameters(
    admin: Admin, store: PostgresStore
) -> None:
    """As behind a pooler whose mode was changed to transaction pooling."""
    admin.execute(
        """
        CREATE TABLE thingspace.modes (mode text);
        CREATE FUNCTION thingspace.note_mode() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO thingspace.modes VALUES (current_setting('synchronous_commit')); RETURN NULL;
        END $$;
        CREATE TRIGGER note_mode AFTER INSERT ON thingspace.messages EXECUTE FUNCTION thingspace.note_mode();
        """
    )
    store._writer.fetch_rows("SET synchronous_commit = off")  # noqa: SLF001  as another client of a pooler
    store.append([build_incoming_callback("after", 2)])
    assert admin.execute("SELECT mode FROM thingspace.modes").fetchall() == [("on",)]
