"""Listener process on this machine: starts apart from `pulumi up`, is found again by a later run, and stops.

A running process holds a lock on its pid file. The lock, not the pid, tells whether it runs, so a pid that the
operating system has reused is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from thingspace_provider.common.file_lock import is_locked
from thingspace_provider.common.timeouts import wait_until

# The environment of a listener. It holds no ThingSpace and no Pulumi credential.
INHERITED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "SYSTEMROOT")

_children: list[subprocess.Popen[bytes]] = []  # children of this process, kept so that they can be reaped


class ProcessStartError(Exception):
    """The process exited or was not ready in time. The message is its last log line, if there is one."""


@dataclass(frozen=True)
class DetachedProcess:
    """A process with a session of its own, identified by its pid file.

    Args:
        pid_file: file with the process id, written and locked by the process when it is ready.
        start_timeout_seconds: time to become ready, and time to write or unlock the pid file.
        stop_timeout_seconds: time to exit after SIGTERM, and again after SIGKILL.
        poll_interval_seconds: time between two looks at the process or its pid file.
    """

    pid_file: Path
    start_timeout_seconds: float = 20.0
    stop_timeout_seconds: float = 10.0
    poll_interval_seconds: float = 0.05

    def start(self, arguments: list[str], log: Path) -> int:
        """Run this Python with the arguments, wait until the process is ready, and return its pid.

        Raises ProcessStartError if it exits or is not ready in time.
        """
        self.pid_file.unlink(missing_ok=True)
        log.touch(mode=0o600)
        offset = log.stat().st_size
        with log.open("ab") as log_file:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log_file,
                start_new_session=True,
                env={name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
            )
        _children.append(process)
        deadline = time.monotonic() + self.start_timeout_seconds
        while process.poll() is None:
            if self.pid_file.exists() and self.pid_file.stat().st_size and self.running_pid() == process.pid:
                return process.pid
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise ProcessStartError(f"the process was not ready within {self.start_timeout_seconds:g} s")
            time.sleep(self.poll_interval_seconds)
        raise ProcessStartError(_last_log_line(log, offset) or f"the process exited with status {process.returncode}")

    def running_pid(self) -> int | None:
        """Return the pid of the running process, or None.

        The pid file is locked and empty while the process starts, and for a moment before it exits.
        """
        _reap()
        deadline = time.monotonic() + self.start_timeout_seconds
        while is_locked(self.pid_file) and time.monotonic() < deadline:
            with contextlib.suppress(ValueError, OSError):
                return int(self.pid_file.read_text())
            time.sleep(self.poll_interval_seconds)
        return None

    def stop(self) -> None:
        """Stop the process with SIGTERM, then with SIGKILL. Raises TimeoutError if it survives both."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.running_pid()
            if pid is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
            if self._wait_until(lambda: self.running_pid() is None):
                self._wait_until(partial(_has_exited, pid))  # it unlocks the file just before it exits
                return
        raise TimeoutError(f"the listener process {self.running_pid()} does not exit")

    def _wait_until(self, condition: Callable[[], bool]) -> bool:
        return wait_until(condition, self.stop_timeout_seconds, self.poll_interval_seconds)


def is_port_free(host: str, port: int) -> bool:
    """Return whether a server can listen on the port now."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore closed connections in TIME_WAIT
        try:
            server.bind((host, port))
        except OSError:
            return False
    return True


def _reap() -> None:
    """Drop the children that have exited."""
    _children[:] = [child for child in _children if child.poll() is None]


def _has_exited(pid: int) -> bool:
    """Return whether a child of this process has exited; true for any other process."""
    _reap()
    return all(child.pid != pid for child in _children)


def _last_log_line(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
