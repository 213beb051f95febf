"""Metrics of the queue recovery."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

RESULTS = COMPLETED, SKIPPED, FAILED = ("completed", "skipped", "failed")


class RecoveryMetrics:
    """Recovery runs, their age, and the messages that they read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "thingspace_recovery_runs", "Recovery runs by their result.", ["result"], registry=registry
        )
        for result in RESULTS:
            self._runs.labels(result)
        self._messages = Counter(
            "thingspace_recovery_messages", "Messages read from ThingSpace's queue.", registry=registry
        )
        self.stopped = Gauge(
            "thingspace_recovery_stopped", "1 after ThingSpace rejected the credentials, else 0.", registry=registry
        )
        self.run_age = Gauge(
            "thingspace_recovery_run_age_seconds",
            "Time since the last completed run, of the account whose run is oldest; 0 while recovery is off.",
            registry=registry,
        )
        self.interval = Gauge(
            "thingspace_recovery_interval_seconds",
            "Longest interval between two runs; 0 while recovery is off.",
            registry=registry,
        )

    def record_run(self, result: str, messages: int = 0) -> None:
        """Count a run: COMPLETED, FAILED, or SKIPPED because another replica has completed one."""
        self._runs.labels(result).inc()
        self._messages.inc(messages)
