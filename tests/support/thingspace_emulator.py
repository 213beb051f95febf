"""The emulator as a process of its own, as a user starts it, and what tests ask of it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests

ACCOUNT = "0000123456-00001"
OTHER_ACCOUNT = "0000123456-00002"
SERVICE = "EnhancedConnectivityService"


def eventually(true: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether it became true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class EmulatorProcess:
    """`thingspace emulator --port 0 --json`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "thingspace_provider.cli", "emulator", "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self._process.stdout.readline())
        self.url: str = self.ready["url"]

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=20)

    @property
    def environment(self) -> dict[str, str]:
        """The settings that point a program here."""
        return {
            "THINGSPACE_BASE_URL": self.url,
            "THINGSPACE_APP_KEY": self.ready["appKey"],
            "THINGSPACE_APP_SECRET": self.ready["appSecret"],
            "THINGSPACE_USERNAME": self.ready["username"],
            "THINGSPACE_PASSWORD": self.ready["password"],
        }

    def control(self, method: str, path: str, body: Any = None, **parameters: str) -> Any:
        """One call of the control plane."""
        url = self.url.removesuffix("/api") + f"/_emulator/{path}"
        answer = requests.request(method, url, json=body, params=parameters, timeout=10)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def reset(self) -> None:
        self.control("POST", "reset")

    def calls(self) -> Counter[str]:
        """How often each operation was called since the last reset."""
        return Counter(call["operation"] for call in self.control("GET", "journal")["calls"])

    def text(self, message: str, account: str = ACCOUNT) -> None:
        """A device sends a text."""
        self.control("POST", "messages", {"accountName": account, "message": message})

    def queued(self, account: str = ACCOUNT) -> int:
        return len(self.control("GET", "queue", accountName=account)["messages"])

    def fault(self, operation: str, status: int, body: Any, times: int = 1) -> None:
        """Have the next calls of an operation answered wrongly."""
        answer = {"status": status, "body": body}
        self.control("POST", "faults", {"operation": operation, "answer": answer, "times": times})
