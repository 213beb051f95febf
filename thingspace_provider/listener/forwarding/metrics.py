"""Metrics of the forwarding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from thingspace_provider.listener.store.base import Backlog, StoreError

OUTCOMES = DELIVERED, FAILED, DEAD_LETTER, SKIPPED = ("delivered", "failed", "dead_letter", "skipped")

CACHE_FACTOR = 10  # a count is valid ten times as long as it took, so that frequent requests do not load the store


class ForwardingMetrics:
    """Deliveries, backlog and circuit breaker of each sink. `backlogs` is called in a thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def create_gauge(name: str, description: str) -> Gauge:
            return Gauge(f"thingspace_{name}", description, ["sink"], registry=registry)

        self._deliveries = Counter(
            "thingspace_deliveries", "Delivery attempts by their outcome.", ["sink", "outcome"], registry=registry
        )
        self._breaker_open = create_gauge("circuit_breaker_open", "1 while the circuit breaker of the sink is open.")
        self._pending = create_gauge("outbox_pending", "Outbox entries that the sink must still receive.")
        self._oldest_age = create_gauge("outbox_oldest_age_seconds", "Age of the oldest pending outbox entry.")
        self._dead_letters = create_gauge("outbox_dead_letters", "Dead letters of the sink.")
        self.backlogs: Callable[[], Sequence[Backlog]] = list
        self._refresh_lock = asyncio.Lock()
        self._cached_until = 0.0

    def register_sink(self, sink: str, is_open: Callable[[], bool]) -> None:
        """Add a sink, with counts of 0."""
        self._breaker_open.labels(sink).set_function(is_open)
        for outcome in OUTCOMES:
            self._deliveries.labels(sink, outcome)

    def record_outcome(self, sink: str, outcome: str) -> None:
        """Count a delivery by one of OUTCOMES."""
        self._deliveries.labels(sink, outcome).inc()

    async def refresh_backlog(self) -> None:
        """Count the backlog unless the last count is still valid. Without a working store, remove its metrics."""
        async with self._refresh_lock:
            started = time.monotonic()
            if started < self._cached_until:
                return
            try:
                backlogs = await asyncio.get_running_loop().run_in_executor(None, self.backlogs)
            except StoreError:
                backlogs = ()
            self._set_gauges(backlogs)
            self._cached_until = started + CACHE_FACTOR * (time.monotonic() - started)

    def _set_gauges(self, backlogs: Sequence[Backlog]) -> None:
        for gauge in (self._pending, self._oldest_age, self._dead_letters):
            gauge.clear()
        for backlog in backlogs:
            self._pending.labels(backlog.sink).set(backlog.pending)
            self._dead_letters.labels(backlog.sink).set(backlog.dead_letters)
            age = 0.0 if backlog.oldest_received_at is None else time.time() - backlog.oldest_received_at / 1_000_000
            self._oldest_age.labels(backlog.sink).set(max(age, 0.0))
