"""hookspool, a durable receiver of webhooks by another project.

It commits each request to SQLite (WAL, synchronous = FULL) before it responds. It has a thread for each connection
here, checks a shared secret, and groups by device; its dispatcher does not run, so that it only receives.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from listener_bench.load import CONNECTIONS, CREDENTIAL, Target, load

if TYPE_CHECKING:
    from typing_extensions import Self

MIN_PYTHON = (3, 11)
REQUIREMENTS = Path(__file__).with_name("hookspool-requirements.txt")
VENV = Path(__file__).resolve().parents[2] / "build" / "hookspool"
START_TIMEOUT_SECONDS = 30
CONFIGURATION = """
[intake]
listen = "127.0.0.1:{port}"
threads = {threads}

[destinations.none]
type = "script"
argv = ["/bin/true"]

[bobbins.sms]
bobbin = "hookspool.webhook"
settings = {{ scheme = "shared-secret-header", header = "X-Secret", key = ["deviceIds.0.id"], sender_retries = true }}
secrets.secret = {{ file = "{secret}" }}
outputs = {{ "*" = "none" }}
"""


def install() -> str:
    """Install hookspool into a virtual environment of its own. Returns why it cannot be compared, or ""."""
    if sys.version_info < MIN_PYTHON:
        return "hookspool needs Python 3.11"
    if not (VENV / "bin" / "hookspool").exists():
        venv.create(VENV, with_pip=True, clear=True)
        pip = [VENV / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", REQUIREMENTS]
        if subprocess.run(pip, check=False).returncode:
            return "hookspool could not be installed"
    return ""


class Hookspool:
    """Server in a `with` block, in its own folder. `ready` is the seconds of its start."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        secret = folder / "secret"
        secret.write_text(CREDENTIAL["password"])
        secret.chmod(0o600)
        configuration = CONFIGURATION.format(port=port, threads=CONNECTIONS, secret=secret)
        (folder / "config.toml").write_text(configuration)
        environment = {**os.environ, "HOOKSPOOL_HOME": str(folder)}
        for command in ("check", "migrate"):
            subprocess.run(
                [VENV / "bin" / "hookspool", command], env=environment, check=True, stdout=subprocess.DEVNULL
            )
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [VENV / "bin" / "hookspool", "intake"], env=environment, stderr=subprocess.DEVNULL
        )
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if time.perf_counter() > begun + START_TIMEOUT_SECONDS:
                raise TimeoutError("hookspool does not start")
            time.sleep(0.01)
        self.ready = time.perf_counter() - begun
        self._target = Target(port, "/hooks/sms", f"X-Secret: {CREDENTIAL['password']}\r\n", b"}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()

    def load(self, messages: int) -> dict[str, float]:
        """Return messages per second, response times in milliseconds, and the number of rejected messages."""
        return uvloop.run(load([self._target], messages))

    @property
    def megabytes(self) -> float:
        """Resident memory in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024
