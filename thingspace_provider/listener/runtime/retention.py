"""Removes what is older than it has to be kept; never what a sink must still get, or could not take."""

from __future__ import annotations

import asyncio
import logging
import time

from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.store.base import Store, StoreFailed

EVERY_SECONDS = 600
BATCH = 300  # looked at in one transaction, so that no callback has to wait for it
PAUSE_SECONDS = 0.1  # between two of these
DAY = 86_400_000_000  # microseconds


class Retention:
    """Looks now and then as long as it runs. `days` may be replaced; 0 keeps everything for ever."""

    def __init__(self, store: Store, metrics: Metrics, days: float) -> None:
        self._store = store
        self._metrics = metrics
        self.days = days

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if self.days:
                try:
                    await self._remove(time.time_ns() // 1000 - int(self.days * DAY))
                except StoreFailed as reason:
                    json_log.tell("what is old could not be removed", logging.WARNING, reason=str(reason))
            await asyncio.sleep(EVERY_SECONDS)

    async def _remove(self, received_before: int) -> None:
        removed = 0
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            removal = await asyncio.to_thread(self._store.remove, received_before, BATCH, after)
            removed += removal.removed
            self._metrics.removed.inc(removal.removed)
            after = removal.after
            await asyncio.sleep(PAUSE_SECONDS)
        if removed:
            json_log.tell("removed what was older than retentionDays", callbacks=removed)
