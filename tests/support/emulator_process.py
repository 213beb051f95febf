"""Emulator process, started as a user starts it, and its control API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import requests

from tests.support.raw_api_client import RawApiClient
from tests.support.waiting import time_limit

if TYPE_CHECKING:
    from typing_extensions import Self

COMMAND = (sys.executable, "-m", "thingspace_provider.cli", "emulator")
ACCOUNT = "0000123456-00001"
OTHER_ACCOUNT = "0000123456-00002"
HOLD_SECONDS = 1000  # on the emulator's clock, where a session expires after 1200 idle seconds
SERVICE = "EnhancedConnectivityService"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for its end."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)


class EmulatorProcess:
    """Process of `thingspace emulator --port 0 --json`. `ready` is its first line of output."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert self._process.stdout is not None
        with time_limit(self._process):
            line = self._process.stdout.readline()
        assert line, self._process.communicate(timeout=20)[1]
        self.ready: dict[str, Any] = json.loads(line)
        self.url: str = self.ready["url"]
        self.caller = RawApiClient(self.url)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal the process and return its exit status and its remaining output."""
        self._process.send_signal(how)
        out, err = self._process.communicate(timeout=20)
        return self._process.returncode, out, err

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that configure a program for this emulator."""
        return {
            "THINGSPACE_BASE_URL": self.url,
            "THINGSPACE_APP_KEY": self.ready["appKey"],
            "THINGSPACE_APP_SECRET": self.ready["appSecret"],
            "THINGSPACE_USERNAME": self.ready["username"],
            "THINGSPACE_PASSWORD": self.ready["password"],
        }

    def control(self, method: str, path: str, body: Any = None, **parameters: str) -> Any:
        """Send a request to the control API."""
        url = self.url.removesuffix("/api") + f"/_emulator/{path}"
        response = requests.request(method, url, json=body, params=parameters, timeout=10)
        assert response.ok, response.text
        return response.json() if response.content else None

    def reset(self) -> None:
        self.control("POST", "reset")

    def count_calls(self) -> Counter[str]:
        """Return the number of calls of each operation since the last reset."""
        return Counter(call["operation"] for call in self.control("GET", "journal")["calls"])

    def send_message(self, message: str, account: str = ACCOUNT) -> None:
        """Send a message from a device."""
        self.control("POST", "messages", {"accountName": account, "message": message})

    def count_queued(self, account: str = ACCOUNT) -> int:
        return len(self.control("GET", "queue", accountName=account)["messages"])

    def add_fault(self, operation: str, status: int, body: Any, times: int = 1) -> None:
        """Let the next calls of an operation get this response."""
        response = {"status": status, "body": body}
        self.control("POST", "faults", {"operation": operation, "response": response, "times": times})

    def hold(self, operation: str, seconds: int = HOLD_SECONDS, skip: int = 0) -> None:
        """Delay the next call of an operation by virtual seconds, which `release` lets pass."""
        self.control("POST", "faults", {"operation": operation, "delaySeconds": seconds, "skip": skip})

    def is_holding(self) -> bool:
        """Tell whether the emulator delays a call."""
        return any(fault["hits"] for fault in self.control("GET", "faults")["faults"])

    def release(self) -> None:
        for fault in self.control("GET", "faults")["faults"]:
            self.control("POST", "clock", {"advanceSeconds": fault["delaySeconds"]})
        self.control("DELETE", "faults")
