"""Steady load of device messages, which the emulator sends, and the outcome of each request at the ingress."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.emulator_process import EmulatorProcess
from tests.support.waiting import join_thread

INTERVAL_SECONDS = 0.1


class EmulatorLoad:
    """Sends messages of all accounts at a rate until `end` is called.

    Attributes:
        sent: Number of messages that the emulator has accepted from devices.
    """

    def __init__(self, emulator: EmulatorProcess, messages_per_second: int) -> None:
        self.sent = 0
        self._emulator = emulator
        self._batch = round(messages_per_second * INTERVAL_SECONDS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, name="load")
        self._thread.start()

    def end(self) -> None:
        """Stop sending."""
        self._ended.set()
        join_thread(self._thread)

    def _send(self) -> None:
        accounts = self._emulator.ready["accounts"]
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due += INTERVAL_SECONDS
            account = accounts[self.sent // self._batch % len(accounts)]
            body = {"accountName": account, "message": f"T={self.sent}", "repeat": self._batch}
            self._emulator.control("POST", "messages", body)
            self.sent += self._batch


@dataclass
class Phase:
    """Requests that ended in a period of time."""

    name: str
    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Number of responses other than 200."""
        return self.statuses.total() - self.statuses[200]


class Phases:
    """Periods of a load, each with the requests to one host in the access log of the ingress controller."""

    def __init__(self, access_log: Path, host: str) -> None:
        self._access_log, self._host = access_log, host
        self._periods: list[tuple[str, float, float]] = []

    @contextmanager
    def phase(self, name: str, settle_seconds: float = 2.0) -> Iterator[None]:
        """Name the period of a block, and of some seconds after it in which its effects show."""
        started = time.time()
        yield
        time.sleep(settle_seconds)
        self._periods.append((name, started, time.time()))

    def results(self) -> list[Phase]:
        """Return what happened in each period."""
        phases = [Phase(name, round(end - start, 1)) for name, start, end in self._periods]
        for line in self._access_log.read_text().splitlines():
            at, host, status, *_, seconds = line.split(" ")
            if host != self._host:
                continue
            for phase, (_, start, end) in zip(phases, self._periods, strict=True):
                if start <= float(at) < end:
                    phase.statuses[int(status)] += 1
                    phase.slowest_seconds = max(phase.slowest_seconds, float(seconds))
        return phases
