"""The servers that are compared, each as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import uvloop
from listener_bench.load import ACCOUNT, CREDENTIAL, PATH_TOKEN, Target, load

if TYPE_CHECKING:
    from typing_extensions import Self

LISTENER, COMMIT_PER_REQUEST, NOTHING_STORED = "listener", "one commit per request", "nothing stored"
HOOKSPOOL = "hookspool 0.2.0"
POSTGRES = {count: f"{count} on PostgreSQL" for count in (1, 2, 4)}
BASELINE_SERVER = Path(__file__).with_name("baseline_server.py")


def slow_sync_command(milliseconds: int) -> list[str] | None:
    """Return the command prefix that makes each sync take longer, or None without strace."""
    if shutil.which("strace") is None:
        return None
    delay = f"inject=fdatasync,fsync:delay_enter={milliseconds * 1000}"
    return ["strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=fdatasync,fsync", "-e", delay, "-o", "/dev/null"]


class Server:
    """Listener or baseline server. It runs in a `with` block, in its own folder.

    `ready` is the seconds of its start.
    """

    def __init__(self, kind: str, folder: Path, before: list[str] | None = None, store: str = "") -> None:
        file = folder / "inbox.sqlite3"
        command = [sys.executable, str(BASELINE_SERVER), "each" if kind == COMMIT_PER_REQUEST else "none", str(file)]
        if kind == LISTENER:
            command = [sys.executable, "-m", "thingspace_provider.cli", "listener", "--port", "0", "--json"]
        settings = {
            "THINGSPACE_LISTENER_ACCOUNTS": ACCOUNT,
            "THINGSPACE_LISTENER_USERNAME": CREDENTIAL["username"],
            "THINGSPACE_LISTENER_PASSWORD": CREDENTIAL["password"],
            "THINGSPACE_LISTENER_PATH_TOKEN": PATH_TOKEN,
            "THINGSPACE_LISTENER_ALLOWED_SOURCE_ADDRESSES": "127.0.0.1",
            "THINGSPACE_LISTENER_STORE": store or f"sqlite:///{file}",
        }
        folder.mkdir(exist_ok=True)
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*(before or []), *command], stdout=subprocess.PIPE, env={**os.environ, **settings}
        )
        assert self._process.stdout  # noqa: S101  for the type
        self.target = Target(int(json.loads(self._process.stdout.readline())["url"].rpartition(":")[2]))
        self.ready = time.perf_counter() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def load(self, messages: int) -> dict[str, float]:
        """Return messages per second, response times in milliseconds, and the number of rejected messages."""
        return uvloop.run(load([self.target], messages))

    @property
    def megabytes(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Replicas:
    """Listeners on one PostgreSQL database, in a `with` block. `ready` and `megabytes` are those of the first."""

    def __init__(self, count: int, folder: Path, store: str) -> None:
        self._exit_stack = ExitStack()
        folder.mkdir(exist_ok=True)
        self._servers = [
            self._exit_stack.enter_context(Server(LISTENER, folder / str(number), store=store))
            for number in range(count)
        ]
        self.ready = self._servers[0].ready

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit_stack.close()

    def load(self, messages: int) -> dict[str, float]:
        """Distribute the messages over the replicas."""
        return uvloop.run(load([server.target for server in self._servers], messages))

    @property
    def megabytes(self) -> float:
        """Resident memory of one replica in MB."""
        return self._servers[0].megabytes
