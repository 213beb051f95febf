"""Emulator process, and a script with the same calls by curl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import requests
from typing_extensions import Self

SCRIPT = Path(__file__).resolve().parent / "calls.sh"


class Emulator:
    """Emulator with these accounts and a configurable delay of startCallbacks."""

    def __init__(self, accounts: list[str]) -> None:
        options = [option for account in accounts for option in ("--account", account)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "thingspace_provider.cli", "emulator", "--port", "0", "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        ready = json.loads((self._process.stdout or sys.stdin).readline())
        self._root = ready["url"].removesuffix("/api")
        self.settings = {
            "THINGSPACE_BASE_URL": ready["url"],
            "THINGSPACE_APP_KEY": ready["appKey"],
            "THINGSPACE_APP_SECRET": ready["appSecret"],
            "THINGSPACE_USERNAME": ready["username"],
            "THINGSPACE_PASSWORD": ready["password"],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def set_call_delay(self, seconds: float) -> None:
        """Reset the emulator and set the delay of each startCallbacks call."""
        requests.post(f"{self._root}/_emulator/reset", timeout=10).raise_for_status()
        if seconds:
            rule = {"operation": "startCallbacks", "delaySeconds": seconds, "times": 100_000}
            requests.post(f"{self._root}/_emulator/faults", json=rule, timeout=10).raise_for_status()

    def count_started(self) -> int:
        """Return the number of startCallbacks calls since the last reset."""
        response = requests.get(f"{self._root}/_emulator/journal?operation=startCallbacks", timeout=10)
        return len(response.json()["calls"])

    def run_script(self, accounts: list[str], parallel: int) -> float:
        """Run the script and return its duration in seconds."""
        began = time.perf_counter()
        subprocess.run(
            [str(SCRIPT), str(parallel)],
            input="\n".join(accounts),
            env={**os.environ, **self.settings},
            check=True,
            text=True,
        )
        return time.perf_counter() - began
