"""The emulator as a person starts it: a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from thingspace_calls import Caller

if TYPE_CHECKING:
    from typing_extensions import Self

COMMAND = (sys.executable, "-m", "thingspace_provider.cli", "emulator")


class EmulatorProcess:
    """`thingspace emulator --port 0 --json` with further arguments; `ready` is its first line."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        self.ready: dict[str, Any] = json.loads(line)
        self.caller = Caller(self.ready["url"])
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code, and what else was printed."""
        self._process.send_signal(how)
        out, err = self._process.communicate(timeout=10)
        return self._process.returncode, out, err


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command to its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)
