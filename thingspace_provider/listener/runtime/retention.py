"""Removes what is older than it has to be kept; never what a sink must still get, or could not take."""

from __future__ import annotations

import asyncio
import logging
import time

from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.store.base import Store, StoreError

INTERVAL_SECONDS = 600
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
                    await self._purge(time.time_ns() // 1000 - int(self.days * DAY))
                except StoreError as reason:
                    json_log.log_event("what is old could not be removed", logging.WARNING, reason=str(reason))
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _purge(self, received_before: int) -> None:
        removed = 0
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            removal = await asyncio.to_thread(self._store.purge, received_before, BATCH, after)
            removed += removal.removed
            self._metrics.removed.inc(removal.removed)
            after = removal.after
            await asyncio.sleep(PAUSE_SECONDS)
        if removed:
            json_log.log_event("removed what was older than retentionDays", callbacks=removed)
