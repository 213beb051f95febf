"""What Prometheus may ask at `/metrics`: counts and times, no texts and no names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics

BATCHES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


class Metrics:
    """The figures of one listener process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._stored = Counter(
            "thingspace_callbacks_stored", "Callbacks stored and acknowledged.", ["kind"], registry=registry
        )
        self._refused = Counter("thingspace_callbacks_refused", "Callbacks not taken.", ["reason"], registry=registry)
        self.unexpected_source = Counter(
            "thingspace_callbacks_unexpected_source",
            "Callbacks taken from an address that ThingSpace is not known to send from.",
            registry=registry,
        )
        self._batch = Histogram(
            "thingspace_commit_callbacks", "Callbacks in one commit.", buckets=BATCHES, registry=registry
        )
        self._seconds = Histogram(
            "thingspace_commit_seconds", "Time that one commit took.", buckets=SECONDS, registry=registry
        )
        self.waiting = Gauge("thingspace_callbacks_waiting", "Callbacks that wait for a commit.", registry=registry)
        self.removed = Counter("thingspace_callbacks_removed", "Callbacks removed for their age.", registry=registry)
        self._asked = Counter(
            "thingspace_queue_asked", "Times the queue was due to be asked for.", ["result"], registry=registry
        )
        self._fetched = Counter("thingspace_queue_texts_fetched", "Texts read from the queue.", registry=registry)
        self.healing_stopped = Gauge(
            "thingspace_healing_stopped", "1 when ThingSpace refused the credentials.", registry=registry
        )
        self.forwarding = ForwardingMetrics(registry)

    def record_stored(self, kind: str) -> None:
        """A callback of a kind was acknowledged."""
        self._stored.labels(kind).inc()

    def record_rejected(self, reason: str) -> None:
        """A callback was not taken."""
        self._refused.labels(reason).inc()

    def record_commit(self, callbacks: int, seconds: float) -> None:
        """A commit has ended well."""
        self._batch.observe(callbacks)
        self._seconds.observe(seconds)

    def record_recovery_run(self, result: str, texts: int = 0) -> None:
        """The queue was to be asked for (`done`, `another listener did`, `failed`); so many texts were read from it."""
        self._asked.labels(result).inc()
        self._fetched.inc(texts)

    async def show(self, request: Request) -> Response:
        """Answer in Prometheus' text format."""
        del request
        await self.forwarding.refresh_backlog()
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})
