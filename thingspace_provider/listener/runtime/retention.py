"""Removes what is older than it has to be kept; never what a sink must still get, or could not take."""

from __future__ import annotations

import asyncio
import logging
import time

from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.store.base import Store, StoreError

INTERVAL_SECONDS = 600
BATCH_SIZE = 300  # looked at in one transaction, so that no callback has to wait for it
PAUSE_SECONDS = 0.1  # between two of these
DAY_US = 86_400_000_000  # microseconds


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
                    await self._purge(time.time_ns() // 1000 - int(self.days * DAY_US))
                except StoreError as error:
                    json_log.log_event("what is old could not be removed", logging.WARNING, reason=str(error))
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _purge(self, received_before: int) -> None:
        purged = 0
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            result = await asyncio.to_thread(self._store.purge, received_before, BATCH_SIZE, after)
            purged += result.purged
            self._metrics.messages_purged.inc(result.purged)
            after = result.after
            await asyncio.sleep(PAUSE_SECONDS)
        if purged:
            json_log.log_event("removed what was older than retentionDays", callbacks=purged)
