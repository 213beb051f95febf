"""Retention: purges old messages, except those that a sink must still receive or has as dead letters."""

from __future__ import annotations

import asyncio
import logging
import time

from prometheus_client import CollectorRegistry, Counter

from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.store.base import Store, StoreError

INTERVAL_SECONDS = 600.0
BATCH_SIZE = 300  # messages per transaction, so that no callback waits long for it
PAUSE_SECONDS = 0.1  # between two transactions
DAY_US = 86_400_000_000


class Retention:
    """Purges messages older than `days` at every interval. `days` can be replaced; 0 keeps all messages."""

    def __init__(
        self,
        store: Store,
        registry: CollectorRegistry,
        days: float,
        interval_seconds: float = INTERVAL_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._store = store
        self._messages_purged = Counter(
            "thingspace_messages_purged", "Messages purged because of their age.", registry=registry
        )
        self._interval_seconds = interval_seconds
        self._pause_seconds = pause_seconds
        self.days = days

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            if self.days:
                try:
                    await self._purge(time.time_ns() // 1000 - int(self.days * DAY_US))
                except StoreError as error:
                    json_log.log_event("retention_failed", logging.WARNING, error=str(error))
            await asyncio.sleep(self._interval_seconds)

    async def _purge(self, received_before: int) -> None:
        purged = 0
        after: tuple[int, int] | None = (0, 0)
        while after is not None:
            result = await asyncio.to_thread(self._store.purge, received_before, BATCH_SIZE, after)
            purged += result.purged
            self._messages_purged.inc(result.purged)
            after = result.after
            await asyncio.sleep(self._pause_seconds)
        if purged:
            json_log.log_event("messages_purged", messages=purged, retention_days=self.days)
