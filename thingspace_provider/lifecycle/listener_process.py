"""A listener process on this machine: started apart from `pulumi up`, found again later, stopped.

The process holds a lock on its pid file as long as it lives. So whether it runs is asked of the operating
system, and a pid that now belongs to somebody else is never signalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

STOP_SECONDS = 10.0
START_SECONDS = 20.0
POLL_SECONDS = 0.05
# What a listener may see of the environment: no ThingSpace or Pulumi credential is among it.
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "SYSTEMROOT")

_children: list[subprocess.Popen[bytes]] = []  # ours until we end; kept so that they can be reaped


class ProcessStartError(Exception):
    """The process ended or stayed silent; the text is the last thing it said."""


def running_pid(pid_file: Path) -> int | None:
    """The pid of the process that holds the lock on its pid file, or None when no process does.

    The file is empty before the holder is ready, and for the moment in which it ends.
    """
    _reap()
    deadline = time.monotonic() + START_SECONDS
    while _is_locked(pid_file) and time.monotonic() < deadline:
        with contextlib.suppress(ValueError, KeyError, OSError):
            return int(json.loads(pid_file.read_text())["pid"])
        time.sleep(POLL_SECONDS)
    return None


def _is_locked(pid_file: Path) -> bool:
    import fcntl  # noqa: PLC0415  not on Windows, where the rest of the provider works

    with contextlib.suppress(FileNotFoundError), pid_file.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def start(command: list[str], pid_file: Path, log: Path) -> int:
    """Start a listener in a session of its own and wait until it is ready; returns its pid.

    Raises NotStarted when it ends or is not ready in time.
    """
    pid_file.unlink(missing_ok=True)
    log.touch(mode=0o600)
    offset = log.stat().st_size
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=sink,
            start_new_session=True,
            env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
        )
    _children.append(process)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None:
        if pid_file.exists() and pid_file.stat().st_size and running_pid(pid_file) == process.pid:
            return process.pid
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise ProcessStartError(f"it was not ready within {START_SECONDS:g} s")
        time.sleep(POLL_SECONDS)
    raise ProcessStartError(_last_log_line(log, offset) or f"it ended with status {process.returncode}")


def stop(pid_file: Path) -> None:
    """End the listener that holds the pid file: politely, then, after STOP_SECONDS, at once."""
    for signal_number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        pid = running_pid(pid_file)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        if wait_until(lambda: running_pid(pid_file) is None, seconds):
            wait_until(partial(_has_exited, pid), seconds)  # it lets go of the lock a moment before it has ended
            return
    raise TimeoutError(f"the listener process {running_pid(pid_file)} does not end")


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's remains do not count
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _reap() -> None:
    """Forget children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


def _has_exited(pid: int) -> bool:
    """Whether it is no child of ours, or no more."""
    _reap()
    return all(child.pid != pid for child in _children)


def _last_log_line(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
