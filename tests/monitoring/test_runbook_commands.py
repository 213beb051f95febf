"""Commands of the runbook, run as written against a listener that has a pending entry and a dead letter."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.monitoring.test_guide import RUNBOOK
from tests.support.forwarding_harness import build_sink, read_metric, send
from tests.support.listener_process import API_TOKEN, ListenerProcess, clean_environment
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.long
Start = Callable[..., ListenerProcess]
COMMANDS = list(
    dict.fromkeys(
        line.strip().removeprefix("$ ").partition("  #")[0].strip()
        for block in re.findall(r"```console\n(.*?)```", RUNBOOK, flags=re.DOTALL)
        for line in block.splitlines()
        if line.strip()
    )
)
NOT_HERE = ("export ", "kubectl ", "tools/pulumi ", "thingspace doctor")  # need a cluster or a stack
SQL = re.compile(r'"(SELECT .*?)"')


def run(command: str, listener: ListenerProcess, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as an operator does, on the machine of the listener."""
    command = command.replace("/var/lib/thingspace", str(listener.folder)).replace("listener.json", str(listener.file))
    command = re.sub(r"^thingspace ", f"{sys.executable} -m thingspace_provider.cli ", command)
    environment = clean_environment(LISTENER=listener.admin_url, THINGSPACE_LISTENER_API_TOKEN=API_TOKEN)
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_commands_of_the_runbook_run(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    receiver.responder = lambda received: ({"invalid": 422, "waits": 500}.get(received.text, 204), {})
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "invalid", "valid")
    send(listener, "waits", device="5551230009")
    wait_until(lambda: read_metric(listener, "thingspace_outbox_dead_letters") == 1, 60, "there is a dead letter")
    expected = {
        'curl -sS "$LISTENER/healthz"': '"ok"',
        'curl -sS "$LISTENER/readyz"': '"status"',
        'curl -sS "$LISTENER/metrics" | grep thingspace_callbacks_rejected_total': 'reason="not_stored"',
        'thingspace messages dead-letters --url "$LISTENER"': "hub",
        'thingspace messages retry --all --url "$LISTENER"': "1",
        'thingspace messages show 1 --url "$LISTENER"': "invalid",
        'thingspace messages --url "$LISTENER" --limit 20': "valid",
    }
    assert set(expected) <= set(COMMANDS)
    here = [it for it in COMMANDS if not it.startswith(NOT_HERE) and "sms.example.com" not in it and "psql" not in it]
    assert len(here) >= 11
    for command in here:
        if command.startswith("sqlite3") and not shutil.which("sqlite3"):
            continue  # the statement is run below
        if command.startswith("thingspace listener"):
            listener.write(port=0, adminPort=0, store=f"sqlite:///{tmp_path / 'other.sqlite3'}")
        ended = run(command, listener, tmp_path)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
        assert expected.get(command, "") in ended.stdout, (command, ended.stdout)


def test_statements_of_the_runbook_find_pending_entries(
    start: Start, receiver: Receiver, postgres: PostgresServer
) -> None:
    statements = [match[1] for command in COMMANDS if (match := SQL.search(command))]
    receiver.responder = lambda _: (500, {})
    url = postgres.create_database()
    on_sqlite, on_postgres = start(sinks=[build_sink(receiver)]), start(store=url, sinks=[build_sink(receiver)])
    for listener in (on_sqlite, on_postgres):
        send(listener, "waits")
    with (
        closing(sqlite3.connect(on_sqlite.folder / "inbox.sqlite3")) as store,
        psycopg.connect(url, autocommit=True) as database,
    ):
        runs: list[Callable[[str], Any]] = [store.execute, database.execute]
        for execute, statement in zip(runs, statements, strict=True):
            wait_until(lambda: execute(statement).fetchone()[3], 60, "the entry has an error")  # noqa: B023
            assert execute(statement).fetchone()[:2] == (1, "hub")
