"""A real PostgreSQL server in a temporary folder: made by initdb, run and killed by its own programs.

Without PostgreSQL on the machine `unusable()` says so, and tests that need it are skipped with that sentence.
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

import psycopg

from tests.support.listener_process import reserve_port
from tests.support.waiting import wait_until

USER, PASSWORD = "inbox", "invented-p%40ss"  # as it stands in a URL
TIMEOUT_SECONDS = 30


def find_programs() -> Path | None:
    """The folder with the newest initdb, where Debian puts it, or where PATH finds it."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def get_skip_reason() -> str:
    """Why no server can be started here, or nothing."""
    if find_programs() is None:
        return "PostgreSQL is NOT TESTED here: install it (apt-get install postgresql)"
    if os.getuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        return "PostgreSQL is NOT TESTED here: it refuses to run as root, and there is no user postgres"
    return ""


class PostgresServer:
    """Runs when made; end it with `remove`. Reached over loopback, with a password."""

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self.folder / "data"
        self._settings = settings
        self.port = reserve_port()  # which nobody takes while this one is down
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        secret = self.folder / "password"
        secret.write_text(PASSWORD.replace("%40", "@"))
        secret.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "-N")
        self.start()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """The URL of an empty database: the same one each time, for making another takes longer than emptying it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS thingspace CASCADE")
        return self.url()

    def start(self) -> None:
        """Return when it answers, at once when it runs already."""
        if (self._data / "postmaster.pid").exists():
            return
        options = [f"-p {self.port}", f"-k {self.folder}", "-h 127.0.0.1", "-c max_connections=200"]
        options += [f"-c {setting}" for setting in self._settings]
        log = self.folder / "log"
        self._run(
            "pg_ctl", "-D", self._data, "-l", log, "-w", "-t", str(TIMEOUT_SECONDS), "-o", " ".join(options), "start"
        )

    def stop(self, mode: str = "fast") -> None:
        """`immediate` ends it as a crash does, without writing anything more."""
        self._run("pg_ctl", "-D", self._data, "-w", "-t", str(TIMEOUT_SECONDS), "-m", mode, "stop")

    def kill(self) -> None:
        """SIGKILL for the postmaster, and wait until all of its children have noticed."""
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
            stdout=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,  # the server keeps a pipe open
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
