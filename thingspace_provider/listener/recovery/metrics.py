"""Metrics of the queue recovery."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

COMPLETED, SKIPPED, FAILED = ("completed", "skipped", "failed")


class RecoveryMetrics:
    """Counters of recovery runs and of the messages that they read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "thingspace_recovery_runs", "Recovery runs by their result.", ["result"], registry=registry
        )
        self._messages = Counter(
            "thingspace_recovery_messages", "Messages read from ThingSpace's queue.", registry=registry
        )
        self.stopped = Gauge(
            "thingspace_recovery_stopped", "1 after ThingSpace rejected the credentials, else 0.", registry=registry
        )

    def record_run(self, result: str, messages: int = 0) -> None:
        """Count a run: COMPLETED, FAILED, or SKIPPED because another replica has completed one."""
        self._runs.labels(result).inc()
        self._messages.inc(messages)
