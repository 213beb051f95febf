"""Deadlines for tests: their backoffs take no time."""

from __future__ import annotations

from dataclasses import dataclass, field

from thingspace_provider.api import Deadline, Limits


@dataclass
class FakeTime:
    """A clock that only sleeping moves. Records backoffs and log lines of the deadlines that it builds."""

    now: float = 0.0
    logged: list[str] = field(default_factory=list)
    backoffs: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.backoffs.append(seconds)
        self.now += seconds

    def build_deadline(self, limits: Limits | None = None) -> Deadline:
        """Return a deadline on this clock, by default with the default limits."""
        return Deadline(limits or Limits(), self.logged.append, lambda: self.now, self.sleep)
