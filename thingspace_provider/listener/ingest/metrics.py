"""Metrics of the callback endpoint and of the group commit."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from thingspace_provider.listener.model import KINDS

CALLBACKS_PER_COMMIT_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
COMMIT_DURATION_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class IngestMetrics:
    """Counters of callbacks and commits, without accounts and devices."""

    def __init__(self, registry: CollectorRegistry) -> None:
        stored = Counter(
            "thingspace_callbacks_stored", "Callbacks stored and acknowledged.", ["kind"], registry=registry
        )
        self._stored = {kind: stored.labels(kind) for kind in KINDS}
        self._rejected = Counter("thingspace_callbacks_rejected", "Callbacks rejected.", ["reason"], registry=registry)
        self.unexpected_source = Counter(
            "thingspace_callbacks_unexpected_source",
            "Callbacks stored although their source address is not an allowed one.",
            registry=registry,
        )
        self._callbacks_per_commit = Histogram(
            "thingspace_callbacks_per_commit",
            "Callbacks in one commit.",
            buckets=CALLBACKS_PER_COMMIT_BUCKETS,
            registry=registry,
        )
        self._commit_duration = Histogram(
            "thingspace_commit_duration_seconds",
            "Duration of one commit.",
            buckets=COMMIT_DURATION_BUCKETS,
            registry=registry,
        )
        self.commit_queue_length = Gauge(
            "thingspace_commit_queue_length", "Callbacks that wait for a commit.", registry=registry
        )

    def declare_rejections(self, reasons: Iterable[str]) -> None:
        """Add the reasons, with counts of 0."""
        for reason in reasons:
            self._rejected.labels(reason)

    def record_stored(self, kind: str) -> None:
        """Count an acknowledged callback."""
        self._stored[kind].inc()

    def record_rejected(self, reason: str) -> None:
        """Count a rejected callback."""
        self._rejected.labels(reason).inc()

    def record_commit(self, callbacks: int, seconds: float) -> None:
        """Observe a successful commit."""
        self._callbacks_per_commit.observe(callbacks)
        self._commit_duration.observe(seconds)
