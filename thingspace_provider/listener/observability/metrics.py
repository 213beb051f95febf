"""What Prometheus may ask at `/metrics`: counts and times, no texts and no names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics

CALLBACKS_PER_COMMIT_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
COMMIT_DURATION_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Metrics:
    """The figures of one listener process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._stored = Counter(
            "thingspace_callbacks_stored", "Callbacks stored and acknowledged.", ["kind"], registry=registry
        )
        self._rejected = Counter("thingspace_callbacks_refused", "Callbacks not taken.", ["reason"], registry=registry)
        self.unexpected_source = Counter(
            "thingspace_callbacks_unexpected_source",
            "Callbacks taken from an address that ThingSpace is not known to send from.",
            registry=registry,
        )
        self._callbacks_per_commit = Histogram(
            "thingspace_commit_callbacks",
            "Callbacks in one commit.",
            buckets=CALLBACKS_PER_COMMIT_BUCKETS,
            registry=registry,
        )
        self._commit_duration = Histogram(
            "thingspace_commit_seconds",
            "Time that one commit took.",
            buckets=COMMIT_DURATION_BUCKETS,
            registry=registry,
        )
        self.commit_queue_length = Gauge(
            "thingspace_callbacks_waiting", "Callbacks that wait for a commit.", registry=registry
        )
        self.messages_purged = Counter(
            "thingspace_callbacks_removed", "Callbacks removed for their age.", registry=registry
        )
        self._recovery_runs = Counter(
            "thingspace_queue_asked", "Times the queue was due to be asked for.", ["result"], registry=registry
        )
        self._recovery_messages = Counter(
            "thingspace_queue_texts_fetched", "Texts read from the queue.", registry=registry
        )
        self.recovery_stopped = Gauge(
            "thingspace_healing_stopped", "1 when ThingSpace refused the credentials.", registry=registry
        )
        self.forwarding = ForwardingMetrics(registry)

    def record_stored(self, kind: str) -> None:
        """A callback of a kind was acknowledged."""
        self._stored.labels(kind).inc()

    def record_rejected(self, reason: str) -> None:
        """A callback was not taken."""
        self._rejected.labels(reason).inc()

    def record_commit(self, callbacks: int, seconds: float) -> None:
        """A commit has ended well."""
        self._callbacks_per_commit.observe(callbacks)
        self._commit_duration.observe(seconds)

    def record_recovery_run(self, result: str, messages: int = 0) -> None:
        """The queue was to be asked for (`done`, `another listener did`, `failed`); so many texts were read from it."""
        self._recovery_runs.labels(result).inc()
        self._recovery_messages.inc(messages)

    async def show(self, request: Request) -> Response:
        """Answer in Prometheus' text format."""
        del request
        await self.forwarding.refresh_backlog()
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})
