"""The lifecycle without Pulumi: a real client of the emulator, a fixed clock and the log lines."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from thingspace_provider.api import ThingSpaceClient
from thingspace_provider.lifecycle.model import Context

NOON = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.timezone.utc)


@dataclass
class LifecycleHarness:
    """A context, and the lines that the lifecycle logged through it."""

    client: ThingSpaceClient
    logged: list[str] = field(default_factory=list)
    time: dt.datetime = NOON
    base_url_fingerprint: str = "01234567"

    @property
    def context(self) -> Context:
        return Context(lambda _: self.client, self.logged.append, lambda: self.time, self.fingerprint)

    def fingerprint(self, profile: str | None) -> str:
        """Return the same fingerprint for every profile."""
        del profile
        return self.base_url_fingerprint
