"""Traces of messages, exported with OTLP over HTTP. Imported only if the setting `tracing` is on: it needs an extra.

Spans are exported in batches by a thread. A collector that is slow or down costs spans, never time or a message.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence

from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from thingspace_provider.listener.observability import json_log

DEFAULT_SERVICE_NAME = "thingspace-listener"
SHUTDOWN_TIMEOUT_SECONDS = 2.0
PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Tracer of this process, configured by the OTEL_… variables. Raises ValueError for an invalid variable."""

    def __init__(self) -> None:
        # Its records have sentences, and one for an invalid OTEL_EXPORTER_OTLP_HEADERS has the value.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: DEFAULT_SERVICE_NAME}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(LoggingExporter(OTLPSpanExporter())))
        self.tracer = self._provider.get_tracer("thingspace_provider.listener")

    def close(self) -> None:
        """Export the remaining spans, for at most SHUTDOWN_TIMEOUT_SECONDS."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)  # it can wait for a dead collector
        thread.start()
        thread.join(SHUTDOWN_TIMEOUT_SECONDS)


class LoggingExporter(SpanExporter):
    """Exporter that logs the first failure, and the first success after failures."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001  older versions of the exporter raise the error of a connection
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            json_log.log_event("trace_export_failed", logging.WARNING, spans=len(spans))
        if self._failing and not failed:
            json_log.log_event("trace_export_succeeded", spans=len(spans))
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Interrupt the retries of the exporter."""
        self._exporter.shutdown()


def current_headers() -> dict[str, str]:
    """Return the headers `traceparent` and `tracestate` of the current span."""
    headers: dict[str, str] = {}
    PROPAGATOR.inject(headers)
    return headers


def serialize_current_context() -> str:
    """Return the trace context of the current span for a stored message."""
    return json.dumps(current_headers())


def parse_context(trace_context: str | None) -> context.Context:
    """Return the trace context of a stored message; an empty one for a message without it."""
    return extract_context(json.loads(trace_context) if trace_context else {})


def extract_context(headers: Mapping[str, str]) -> context.Context:
    """Return the trace context of headers in lower case; an empty one if they are missing or invalid."""
    return PROPAGATOR.extract(headers, context.Context())
