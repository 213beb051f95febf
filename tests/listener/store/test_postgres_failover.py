"""Stored messages survive a failover to a synchronous standby."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.support import patroni
from tests.support.listener_process import ListenerProcess, NotReady, build_text_callback
from tests.support.load_senders import LoadSenders
from tests.support.patroni import PatroniCluster
from tests.support.pgbouncer import PROGRAM, pgbouncer
from tests.support.postgres_server import PASSWORD, USER, PostgresServer, open_postgres_store
from tests.support.store_replica import build_incoming_callback
from tests.support.waiting import join_thread, wait_until
from thingspace_provider.listener.store.base import StoreError

Start = Callable[..., ListenerProcess]
SetStandbys = Callable[[str], None]
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'thingspace listener'"
CANCEL = WAITING.replace("SELECT pid", "SELECT pg_cancel_backend(pid)")
NO_STANDBY = "no synchronous standby, and requireSynchronousStandby is true"


def set_standbys(server: PostgresServer, names: str) -> None:
    """Set the standbys that a commit waits for, and wait until the server does."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'".encode())
        admin.execute("SELECT pg_reload_conf()")
        query = "SELECT current_setting('synchronous_standby_names')"
        wait_until(lambda: admin.execute(query).fetchone() == (names,), 30, "the setting is reloaded")


@pytest.fixture
def standbys(postgres: PostgresServer) -> Iterator[SetStandbys]:
    """Function that sets the standbys of the shared server, which has none."""
    postgres.create_database()
    yield lambda names: set_standbys(postgres, names)
    set_standbys(postgres, "")


def test_a_server_without_synchronous_standby_is_rejected_when_one_is_required(
    start: Start, postgres: PostgresServer
) -> None:
    with pytest.raises(NotReady, match=NO_STANDBY):
        start(store=postgres.create_database(), requireSynchronousStandby=True)
    with pytest.raises(NotReady, match="requireSynchronousStandby needs a PostgreSQL store"):
        start(requireSynchronousStandby=True)


def test_nothing_is_stored_when_the_server_no_longer_waits_for_a_standby(
    postgres: PostgresServer, standbys: SetStandbys
) -> None:
    open_postgres_store(postgres.url()).close()  # creates the schema
    standbys("absent")
    store = open_postgres_store(postgres.url(), require_synchronous_standby=True)
    standbys("")
    with pytest.raises(StoreError, match=NO_STANDBY):
        store.append([build_incoming_callback("rejected", 1)])
    with pytest.raises(StoreError, match=NO_STANDBY):
        store.check_writable()
    with psycopg.connect(postgres.url()) as admin:
        assert admin.execute("SELECT count(*) FROM thingspace.messages").fetchone() == (0,)
    store.close()


def test_an_append_fails_when_its_wait_for_the_standby_is_cancelled(
    postgres: PostgresServer, standbys: SetStandbys
) -> None:
    """The server reports success with a warning, although only the primary has the message."""
    store = open_postgres_store(postgres.url(), append_timeout_seconds=60)
    standbys("absent")
    errors: list[str] = []

    def append() -> None:
        try:
            store.append([build_incoming_callback("unreplicated", 1)])
        except StoreError as error:
            errors.append(str(error))

    thread = threading.Thread(target=append)
    thread.start()
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        wait_until(lambda: admin.execute(WAITING).fetchone(), 30, "the commit waits for the standby")
        admin.execute(CANCEL)
    join_thread(thread)
    assert errors == ["the commit did not wait for its synchronous standby"]
    standbys("")
    store.append([build_incoming_callback("after", 1)])
    store.close()


@pytest.mark.long
@pytest.mark.parametrize("is_standby_required", [True, False])
def test_no_acknowledged_message_is_lost_when_the_standby_is_promoted(
    start: Start, *, is_standby_required: bool
) -> None:
    primary = PostgresServer()
    standby = PostgresServer(primary=primary)
    try:
        set_standbys(primary, "standby")
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres?target_session_attrs=read-write"
        listener = start(store=url, requireSynchronousStandby=is_standby_required)
        senders = LoadSenders(listener, "failover")
        wait_until(lambda: len(senders.acknowledged) > 500, 60, "messages are acknowledged")
        primary.kill()
        standby.promote()
        if is_standby_required:
            wait_until(lambda: NO_STANDBY in listener.get("/readyz").text, 30, "the new primary is rejected")
        else:
            wait_until(lambda: listener.post(build_text_callback()).status_code == 200, 30, "a message is stored")
        senders.end()
        assert set(senders.acknowledged) <= set(listener.message_texts())
    finally:
        standby.remove()
        primary.remove()


@pytest.fixture(scope="module")
def cluster() -> Iterator[PatroniCluster]:
    """Cluster under Patroni."""
    if reason := patroni.get_skip_reason():
        pytest.skip(reason)
    running = PatroniCluster()
    yield running
    running.remove()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_pooled", [False, True])
def test_no_acknowledged_message_is_lost_when_patroni_promotes_the_standby(
    start: Start, cluster: PatroniCluster, *, is_pooled: bool
) -> None:
    """The second failover leaves no synchronous standby, so no standby is required then."""
    if is_pooled and None in (PROGRAM, patroni.HAPROXY):
        pytest.skip("PgBouncer or HAProxy is NOT TESTED here: install pgbouncer and haproxy")
    with contextlib.ExitStack() as stack:
        url = cluster.url()
        if is_pooled:
            stack.enter_context(cluster.haproxy())
            url = stack.enter_context(pgbouncer(cluster, "pool_mode = session", "server_login_retry = 1"))
        listener = start(store=url, requireSynchronousStandby=not is_pooled)
        senders = LoadSenders(listener, f"patroni-{is_pooled}")
        wait_until(lambda: len(senders.acknowledged) > 500, 60, "messages are acknowledged")
        cluster.kill_primary()
        wait_until(lambda: has_failed_over(cluster, needs_standby=not is_pooled), 120, "a standby is promoted")
        failed_over = time.monotonic()
        wait_until(lambda: listener.post(build_text_callback()).status_code == 200, 30, "a message is stored")
        assert time.monotonic() - failed_over < 5
        senders.end()
        assert set(senders.acknowledged) <= set(listener.message_texts())
        listener.stop()


def has_failed_over(cluster: PatroniCluster, *, needs_standby: bool) -> bool:
    """Return whether the primary accepts writes, and waits for a standby."""
    try:
        with psycopg.connect(cluster.url(), connect_timeout=2) as admin:
            [(names,)] = admin.execute("SELECT current_setting('synchronous_standby_names')").fetchall()
    except psycopg.OperationalError:
        return False
    return bool(names) or not needs_standby
