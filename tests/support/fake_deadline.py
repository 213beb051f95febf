"""Patience for tests: its pauses take no time."""

from __future__ import annotations

from dataclasses import dataclass, field

from thingspace_provider.api import Deadline, Limits


@dataclass
class FakeTime:
    """One operation's patience whose pauses take no time of ours: its clock moves when it sleeps."""

    now: float = 0.0
    logged: list[str] = field(default_factory=list)
    backoffs: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.backoffs.append(seconds)
        self.now += seconds

    def build_deadline(self, limits: Limits | None = None) -> Deadline:
        return Deadline(limits or Limits(), self.logged.append, lambda: self.now, self.sleep)
