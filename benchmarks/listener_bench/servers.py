"""The listener and what it stands beside, each as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import uvloop
from listener_bench.load import ACCOUNT, CREDENTIAL, PATH_TOKEN, load

if TYPE_CHECKING:
    from typing_extensions import Self

LISTENER, COMMIT_PER_REQUEST, NOTHING_STORED = KINDS = ("listener", "one commit per request", "nothing stored")
BASELINE_SERVER = Path(__file__).with_name("baseline_server.py")


def slow_sync_command(milliseconds: int) -> list[str] | None:
    """What makes a command's every sync take so much longer, or None without strace; other calls go untouched."""
    if shutil.which("strace") is None:
        return None
    delay = f"inject=fdatasync,fsync:delay_enter={milliseconds * 1000}"
    return ["strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=fdatasync,fsync", "-e", delay, "-o", "/dev/null"]


class Server:
    """Runs inside its `with`, on a folder of its own. `ready` is how many seconds it took to begin."""

    def __init__(self, kind: str, folder: Path, before: list[str] | None = None) -> None:
        store = folder / "inbox.sqlite3"
        command = [sys.executable, str(BASELINE_SERVER), "each" if kind == COMMIT_PER_REQUEST else "none", str(store)]
        if kind == LISTENER:
            command = [sys.executable, "-m", "thingspace_provider.cli", "listener", "--port", "0", "--json"]
        settings = {
            "THINGSPACE_LISTENER_ACCOUNTS": ACCOUNT,
            "THINGSPACE_LISTENER_USERNAME": CREDENTIAL["username"],
            "THINGSPACE_LISTENER_PASSWORD": CREDENTIAL["password"],
            "THINGSPACE_LISTENER_PATH_TOKEN": PATH_TOKEN,
            "THINGSPACE_LISTENER_STORE": f"sqlite:///{store}",
        }
        folder.mkdir(exist_ok=True)
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*(before or []), *command], stdout=subprocess.PIPE, env={**os.environ, **settings}
        )
        assert self._process.stdout  # noqa: S101  for the type
        self.port = int(json.loads(self._process.stdout.readline())["url"].rpartition(":")[2])
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
        return uvloop.run(load(self.port, messages))

    @property
    def megabytes(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024
