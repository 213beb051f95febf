"""The lifecycle without Pulumi: a real client of the emulator, a clock that stands still, and what was said."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from thingspace_provider.api import Client
from thingspace_provider.lifecycle.model import Context

NOON = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.timezone.utc)


@dataclass
class World:
    """A context, and what the lifecycle told the person through it."""

    client: Client
    said: list[str] = field(default_factory=list)
    time: dt.datetime = NOON

    @property
    def context(self) -> Context:
        return Context(client=lambda _: self.client, say=self.said.append, now=lambda: self.time)
