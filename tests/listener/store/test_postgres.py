"""PostgreSQL store: replicas, failures of the server, and rejected databases."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from tests.support import store_replica
from tests.support.listener_process import (
    COMMAND,
    ListenerProcess,
    build_settings,
    build_text_callback,
    clean_environment,
)
from tests.support.postgres_server import PASSWORD, PostgresServer, open_postgres_store
from tests.support.waiting import join_thread, wait_until
from thingspace_provider.listener.ingest.callback_endpoint import RESPONSE_TIMEOUT_SECONDS
from thingspace_provider.listener.model import MessageQuery
from thingspace_provider.listener.setting_types import InvalidValue
from thingspace_provider.listener.store.base import StoreError, StoreOpenError
from thingspace_provider.listener.store.postgres.connections import GRACE_SECONDS, ConnectionPool
from thingspace_provider.listener.store.postgres.coordination import PostgresCoordination
from thingspace_provider.listener.store.postgres.outbox import LEASE
from thingspace_provider.listener.store.postgres.store import APPEND_TIMEOUT_SECONDS, PostgresStore
from thingspace_provider.listener.store.store_url import mask_store_url, parse_store_url

TOP = Path(__file__).resolve().parents[3]

Start = Callable[..., ListenerProcess]
EVERYTHING = MessageQuery(limit=100_000)
TIMEOUT_SECONDS = 6  # 2 are guaranteed; more allows for a busy machine, and a hanging statement takes 10
SECRETS = (PASSWORD, PASSWORD.replace("%40", "@"))


class ReplicaSenders:
    """Senders of numbered messages until `end`, which record every response and its duration."""

    def __init__(self, listeners: list[ListenerProcess], connections: int = 6) -> None:
        self.acknowledged: list[str] = []
        self.responses: list[tuple[int, float]] = []
        self._ended = threading.Event()
        chosen = [listeners[number % len(listeners)] for number in range(connections)]
        self._threads = [
            threading.Thread(target=self._send, args=(number, listener)) for number, listener in enumerate(chosen)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            join_thread(thread, 30)

    def _send(self, sender: int, listener: ListenerProcess) -> None:
        with requests.Session() as session:
            session.trust_env = False
            number = 0
            while not self._ended.is_set():
                name = f"{sender}-{number}"
                started = time.monotonic()
                body = build_text_callback(name, device=f"555123{sender:04}")
                response = session.post(listener.url + listener.path(), json=body, timeout=10)
                self.responses.append((response.status_code, time.monotonic() - started))
                if response.status_code == 200:
                    self.acknowledged.append(name)
                number += 1


def read_all(listener: ListenerProcess, sent: threading.Event) -> list[dict[str, Any]]:
    """Read with the cursor while senders write, until all messages are sent and read."""
    seen: list[dict[str, Any]] = []
    cursor = None

    def has_read_all() -> bool:
        nonlocal cursor
        last = sent.is_set()
        page = listener.fetch_page(limit=7, **({"after": cursor} if cursor else {}))
        seen.extend(page["messages"])
        cursor = page["next"]
        return last and not page["messages"]

    wait_until(has_read_all, 150, "the reader sees every message", interval_seconds=0.001)
    return seen


def send_until_acknowledged(session: requests.Session, listener: ListenerProcess, body: dict[str, Any]) -> None:
    """Retry as ThingSpace does, because a busy machine may respond with 503."""
    wait_until(
        lambda: session.post(listener.url + listener.path(), json=body, timeout=10).status_code == 200,
        60,
        "the listener acknowledges the message",
    )


@pytest.mark.parametrize(("replicas", "own"), [(2, 25), pytest.param(4, 200, marks=pytest.mark.long)])
def test_duplicates_at_several_replicas_are_marked_and_no_reader_skips_a_message(
    start: Start, postgres: PostgresServer, replicas: int, own: int
) -> None:
    url = postgres.create_database()
    listeners = [start(store=url) for _ in range(replicas)]
    copied = own

    def send(sender: int) -> None:
        listener = listeners[sender]
        with requests.Session() as session:
            session.trust_env = False
            for number in range(own + copied):
                name = f"all-{number}" if number < copied else f"{sender}-{number}"
                request = f"request {number}" if number < copied and number % 2 else None
                body = build_text_callback(name, device=str(number), requestId=request)
                send_until_acknowledged(session, listener, body)

    sent = threading.Event()
    with ThreadPoolExecutor(2 * replicas) as threads:
        readers = [threads.submit(read_all, replica, sent) for replica in listeners]
        try:
            list(threads.map(send, range(replicas)))
        finally:
            sent.set()
        [seen, *same] = [reader.result(150) for reader in readers]
    assert all(other == seen for other in same)
    assert len({message["id"] for message in seen}) == len(seen) >= replicas * (own + copied)
    firsts = {message["text"]: message["id"] for message in reversed(seen)}
    assert len(firsts) == copied + replicas * own
    for message in seen:
        first = firsts[message["text"]]
        assert message["duplicateOf"] == (None if message["id"] == first else first)


@pytest.mark.parametrize(("replicas", "message_count"), [(2, 60), pytest.param(4, 500, marks=pytest.mark.long)])
def test_an_entry_is_leased_by_one_replica_and_each_device_gets_its_messages_in_order(
    tmp_path: Path, postgres: PostgresServer, replicas: int, message_count: int
) -> None:
    url = postgres.create_database()
    running = []
    for number in range(replicas):
        with (tmp_path / str(number)).open("w") as output:
            command = [sys.executable, "-m", store_replica.__name__, url, str(number), str(message_count)]
            running.append(subprocess.Popen(command, stdout=output, cwd=TOP))
    try:
        assert [process.wait(120) for process in running] == [0] * replicas
    finally:
        for process in running:
            process.kill()
    leased = [json.loads(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    store = open_postgres_store(url, "a")
    stored = store.find(EVERYTHING)
    store.close()
    assert len(stored) == 2 * replicas * message_count
    assert sum(message.duplicate_of is not None for message in stored) == (replicas - 1) * message_count
    assert sorted(entry["id"] for entry in leased) == [message.id for message in stored]
    ordering_keys = defaultdict(list)
    for entry in sorted(leased, key=lambda entry: (entry["from"], entry["id"])):
        ordering_keys[entry["orderingKey"]].append(entry)
    assert len(ordering_keys) == store_replica.DEVICES
    for entries in ordering_keys.values():
        assert [entry["id"] for entry in entries] == sorted(entry["id"] for entry in entries)
        for before, after in itertools.pairwise(entries):
            assert after["from"] == before["from"] or after["from"] >= before["until"], (
                "two replicas had leased one device at the same time"
            )


def test_entries_that_another_replica_is_leasing_are_skipped(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    store = open_postgres_store(url, "a")
    store.append(
        [
            store_replica.build_incoming_callback("1", 1),
            store_replica.build_incoming_callback("2", 2),
            store_replica.build_incoming_callback("3", 1),
        ]
    )
    values = {"sink": "a", "limit": 1, "batch_size": 2, "token": 1, "lease_us": 1_000_000_000}
    with psycopg.connect(url) as other:
        assert len(other.execute(LEASE.encode(), values).fetchall()) == 1
        lease = store.outbox.acquire("a", 10, lease_seconds=30, batch_size=2)
        assert [entry.message.text for batch in lease.batches for entry in batch] == ["2"]
    assert store.outbox.acquire("a", 10, lease_seconds=30).batches == ()
    store.close()


@pytest.mark.parametrize("end", ["SIGKILL", pytest.param("immediate", marks=pytest.mark.long)])
def test_no_acknowledged_message_is_lost_when_the_server_is_killed(
    start: Start, postgres: PostgresServer, end: str
) -> None:
    listeners = [start(store=url) for url in [postgres.create_database()] * 2]
    senders = ReplicaSenders(listeners)
    try:
        wait_until(lambda: len(senders.acknowledged) > 100, 60, "100 messages are acknowledged")
        postgres.kill() if end == "SIGKILL" else postgres.stop("immediate")
        responses_before = len(senders.responses)
        wait_until(lambda: len(senders.responses) > responses_before + 20, 60, "20 more responses")
        assert {status for status, _ in senders.responses[responses_before + 10 :]} == {503}
        postgres.start()
        restarted = len(senders.acknowledged)
        wait_until(lambda: len(senders.acknowledged) > restarted + 50, 60, "50 more messages are acknowledged")
    finally:
        senders.end()
        postgres.start()  # for later tests, if this one fails
    assert {status for status, _ in senders.responses} == {200, 503}
    durations = sorted(seconds for _, seconds in senders.responses)
    assert durations[len(durations) * 9 // 10] < 2
    assert durations[-1] < TIMEOUT_SECONDS
    assert set(senders.acknowledged) <= set(listeners[0].message_texts())


def test_the_response_timeout_is_longer_than_the_store_timeout() -> None:
    assert APPEND_TIMEOUT_SECONDS + GRACE_SECONDS + 0.1 < RESPONSE_TIMEOUT_SECONDS < 2  # the driver polls each 0.1 s


def test_a_connection_that_hangs_times_out_and_is_replaced(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    store = open_postgres_store(url)
    store.append([store_replica.build_incoming_callback("before", 1)])
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT thingspace.append%'"
        [(backend,)] = connection.execute(f"{query} ORDER BY query_start DESC LIMIT 1").fetchall()
    os.kill(backend, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(StoreError):
            store.append([store_replica.build_incoming_callback("during", 2)])
        assert time.monotonic() - started < TIMEOUT_SECONDS
        store.append([store_replica.build_incoming_callback("after", 3)])
    finally:
        os.kill(backend, signal.SIGCONT)
    assert {"before", "after"} <= {message.text for message in store.find(EVERYTHING)}
    store.close()


def test_a_write_lock_that_is_never_released_does_not_block_other_replicas(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    store = open_postgres_store(url, grace_seconds=30.0)  # so that the server reports the timeout
    with psycopg.connect(url) as connection:
        connection.execute("SELECT thingspace.lock_writes()")
        started = time.monotonic()
        with pytest.raises(StoreError, match="timeout"):
            store.append([store_replica.build_incoming_callback("1", 1)])
        assert time.monotonic() - started < TIMEOUT_SECONDS
    store.append([store_replica.build_incoming_callback("2", 1)])
    assert [message.text for message in store.find(EVERYTHING)] == ["2"]
    store.close()


def test_replicas_create_the_schema_once_when_they_start_at_the_same_time(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: open_postgres_store(url), range(8)))
    for store in stores:
        store.check_writable()
        store.close()


def test_a_leader_lease_is_held_by_one_replica_and_values_are_shared_by_all(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    first, other = open_postgres_store(url), open_postgres_store(url)
    with (
        first.coordination.leader_lease("recovery") as is_leader,
        other.coordination.leader_lease("recovery") as is_other_leader,
        other.coordination.leader_lease("other") as is_leader_of_other,
    ):
        assert (is_leader(), is_other_leader(), is_leader_of_other()) == (True, False, True)
    with other.coordination.leader_lease("recovery") as is_other_leader:
        assert is_other_leader()
    assert other.coordination.get_value("when") == 0
    first.coordination.set_value("when", 7)
    first.coordination.set_value("when", 8)
    assert other.coordination.get_value("when") == 8
    first.close()
    other.close()


def test_a_leader_lease_expires_when_it_is_not_renewed(postgres: PostgresServer) -> None:
    """A renew interval of 1000 seconds stands for a process that hangs."""
    url = postgres.create_database()
    open_postgres_store(url).close()
    pool = ConnectionPool(url, 10, {})
    renewing = PostgresCoordination(pool, lease_seconds=4.0, renew_interval_seconds=0.1)
    hanging = PostgresCoordination(pool, lease_seconds=4.0, renew_interval_seconds=1000.0)
    other = PostgresCoordination(pool)

    def is_held_by_other() -> bool:
        with other.leader_lease("recovery") as is_leader:
            return is_leader()

    with renewing.leader_lease("recovery") as is_leader:
        first_end = other.get_value("lease recovery")
        wait_until(lambda: other.now() > first_end, 60, "the first term of the lease ends")
        assert not is_held_by_other()
        assert is_leader()
    with hanging.leader_lease("recovery") as is_leader:
        assert is_leader()
        assert not is_held_by_other()
        wait_until(is_held_by_other, 60, "the other replica acquires the lease")
        assert not is_leader()
        lease_of_other = other.leader_lease("recovery")
        assert lease_of_other.__enter__()()
    assert other.get_value("lease recovery") > other.now(), "a lost lease must not release that of another replica"
    lease_of_other.__exit__(None, None, None)
    other.set_value("lease recovery", other.now() + 3 * 10**9)  # as after a clock was set back by 50 minutes
    assert is_held_by_other()
    pool.close()


def test_a_server_without_fsync_is_rejected(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        try:
            wait_until(lambda: connection.execute("SHOW fsync").fetchone() == ("off",), 10, "fsync is off")
            with pytest.raises(StoreOpenError, match=r"shown cannot be used as a store: .*fsync = off"):
                open_postgres_store(url)
        finally:
            connection.execute("ALTER SYSTEM RESET fsync")
            connection.execute("SELECT pg_reload_conf()")
            wait_until(lambda: connection.execute("SHOW fsync").fetchone() == ("on",), 10, "fsync is on")


def test_a_database_of_a_newer_version_is_rejected(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    open_postgres_store(url).close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE thingspace.schema_version SET version = 99")
    with pytest.raises(StoreOpenError, match="newer version"):
        open_postgres_store(url)


def check(folder: Path, store: str, *python: str) -> subprocess.CompletedProcess[str]:
    """Run `thingspace listener --check`."""
    file = folder / "settings.json"
    file.write_text(json.dumps(build_settings(folder, store=store)))
    command = [sys.executable, *python, "listener"] if python else COMMAND
    return subprocess.run(
        [*command, "--settings", str(file), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=clean_environment(),
    )


def test_a_check_opens_the_database_and_prints_its_url_without_the_password(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    checked = check(tmp_path, postgres.create_database())
    assert checked.returncode == 0, checked.stderr
    assert f"store postgresql://inbox:***@127.0.0.1:{postgres.port}/" in checked.stdout
    assert not any(secret in checked.stdout + checked.stderr for secret in SECRETS)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (PASSWORD, "another-secret", "password authentication failed"),
        ("/postgres", "/absent", 'database "absent" does not exist'),
        ("127.0.0.1:{port}", "127.0.0.1:1", "Connection refused"),
        ("/postgres", "/postgres?another-secret=1", "not a PostgreSQL URL that libpq can read"),
    ],
)
def test_an_error_has_no_password_when_a_database_cannot_be_opened(
    postgres: PostgresServer, old: str, new: str, expected: str
) -> None:
    url = postgres.url().replace(old.format(port=postgres.port), new)
    with pytest.raises(StoreOpenError) as failed:
        PostgresStore(url, mask_store_url(url.partition("?")[0]))
    message = str(failed.value)
    assert expected in message
    assert message.startswith("postgresql://inbox:***@127.0.0.1:")
    assert "\n" not in message
    assert not any(secret in message for secret in (*SECRETS, "another-secret"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://inbox:secr/et@db.example.com/inbox",
        "postgresql://inbox:secr@et@db.example.com/inbox",
        "postgresql://inbox:secr#et@db.example.com/inbox",
        "postgresql://inbox:secret",
        "postgresql://inbox:secret/inbox",
        "mysql://inbox:secret@db.example.com/inbox",
    ],
)
def test_an_error_has_no_password_when_a_url_is_invalid(url: str) -> None:
    with pytest.raises(InvalidValue) as invalid:
        parse_store_url(url)
    assert not any(piece in str(invalid.value) for piece in ("secr", "et@", "inbox:"))


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite:////var/lib/inbox.sqlite3", "sqlite:////var/lib/inbox.sqlite3"),
        ("postgresql://inbox@db/inbox", "postgresql://inbox@db/inbox"),
        ("postgresql://inbox:s%2Fcret@[::1]:5432,db:2/inbox", "postgresql://inbox:***@[::1]:5432,db:2/inbox"),
        (
            "postgres:///inbox?host=/run/postgresql&password=secret&sslmode=require",
            "postgres:///inbox?host=/run/postgresql&password=***&sslmode=require",
        ),
    ],
)
def test_the_password_of_a_url_is_masked(url: str, masked: str) -> None:
    assert mask_store_url(parse_store_url(url)) == masked


def test_the_error_has_the_installation_command_when_the_driver_is_missing(tmp_path: Path) -> None:
    without = "import sys; sys.modules['psycopg'] = None; from thingspace_provider.cli import main; main()"
    failed = check(tmp_path, "postgresql://inbox:invented-secret@127.0.0.1/inbox", "-c", without)
    assert failed.returncode == 1
    assert ".[listener,postgres]" in failed.stderr
    assert "invented-secret" not in failed.stderr
