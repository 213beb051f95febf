"""PostgreSQL server in a temporary folder, controlled by initdb and pg_ctl.

Tests that need it are skipped when PostgreSQL is not installed; `get_skip_reason()` returns the reason.
PostgreSQL refuses to run as root; then the user `postgres`, which its package creates, runs it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from tests.support.listener_process import reserve_port
from tests.support.waiting import wait_until
from thingspace_provider.listener.store.postgres.store import PostgresStore

USER, PASSWORD = "inbox", "invented-p%40ss"  # percent-encoded, as in a URL
TIMEOUT_SECONDS = 30


def find_programs() -> Path | None:
    """Return the folder of the newest initdb of Debian or of that on PATH."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def get_skip_reason() -> str:
    """Return why no server can start on this machine, or an empty string."""
    if find_programs() is None:
        return "PostgreSQL is NOT TESTED here: install it (apt-get install postgresql)"
    if os.getuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return "PostgreSQL is NOT TESTED here: it refuses to run as root, and there is no user postgres"
    return ""


def open_postgres_store(url: str, *sinks: str, **options: Any) -> PostgresStore:
    """Open a store with a long connect timeout, because a busy machine needs it."""
    return PostgresStore(url, "shown", sinks, connect_timeout_seconds=60, **options)


class PostgresServer:
    """Server that runs after construction, at one address with a password. Stop it with `remove`.

    Args:
        settings: Settings as `name=value`.
        address: Address to listen on. Its /24 network has access.
        primary: The server whose standby this one is, with the application name `standby`.
    """

    def __init__(self, *settings: str, address: str = "127.0.0.1", primary: PostgresServer | None = None) -> None:
        self._address = address
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self.folder / "data"
        self._settings = settings
        self.port = reserve_port()  # no other test uses it while the server is down
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        secret = self.folder / "password"
        secret.write_text(PASSWORD.replace("%40", "@"))
        secret.chmod(0o644)
        if primary:
            url = f"{primary.url()}?application_name=standby"
            self._run("pg_basebackup", "-d", url, "-D", self._data, "-R", "-c", "fast", "-N")
        else:
            options = ("-U", USER, "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "-N")
            self._run("initdb", "-D", self._data, *options)
        with (self._data / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {address}/24 scram-sha-256\n")
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{PASSWORD}@{self._address}:{self.port}/{database}"

    def create_database(self) -> str:
        """Return the URL of an empty database. It is always the same, because emptying is faster than creating."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS thingspace CASCADE")
        return self.url()

    def start(self) -> None:
        """Start the server if it does not run, and wait until it responds."""
        if (self._data / "postmaster.pid").exists():
            return
        options = [f"-p {self.port}", f"-k {self.folder}", f"-h {self._address}", "-c max_connections=200"]
        options += [f"-c {setting}" for setting in self._settings]
        log = self.folder / "log"
        self._run(
            "pg_ctl", "-D", self._data, "-l", log, "-w", "-t", str(TIMEOUT_SECONDS), "-o", " ".join(options), "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. Mode `immediate` is like a crash: the server writes nothing more."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", str(TIMEOUT_SECONDS), "-m", mode, "stop")

    def promote(self) -> None:
        """Make a standby the primary."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", str(TIMEOUT_SECONDS), "promote")

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL and wait until its children have exited."""
        pid = self._data / "postmaster.pid"
        children = self._list_children(int(pid.read_text().split()[0]))
        os.kill(int(pid.read_text().split()[0]), signal.SIGKILL)
        for child in children:
            _end(child)
        pid.unlink()

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def _list_children(self, parent: int) -> list[int]:
        children = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                children.append(int(status.parent.name))
        return children

    def _run(self, program: str, *arguments: str | Path) -> None:
        folder = find_programs()
        assert folder, get_skip_reason()
        user = "postgres" if os.getuid() == 0 else None
        ended = subprocess.run(
            [folder / program, *arguments],
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # the server would keep a pipe open
            stderr=subprocess.STDOUT if program == "initdb" else subprocess.DEVNULL,
            check=False,
            timeout=2 * TIMEOUT_SECONDS,
        )
        log = self.folder / "log"
        assert ended.returncode == 0, ended.stdout or (log.read_text() if log.exists() else program)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), TIMEOUT_SECONDS, f"process {pid} ends")
