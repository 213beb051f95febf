"""Collector of traces on this machine: decodes OTLP over HTTP."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.waiting import wait_until


@dataclass(frozen=True)
class CollectedSpan:
    """Span with its ids in hex."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    is_error: bool
    attributes: dict[str, Any]
    start_ns: int
    end_ns: int
    service_name: str


class TraceCollector:
    """Collector from its construction until `close`."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    collector.bodies.append(body)
                    collector.spans += _decode(body)
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def variables(self) -> tuple[str, ...]:
        """Return a command prefix that sets the variables of an exporter to this collector, with short delays."""
        endpoint = f"http://127.0.0.1:{self._server.server_port}"
        return ("env", f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}", "OTEL_BSP_SCHEDULE_DELAY=50")

    def wait_for(self, name: str, count: int = 1) -> list[CollectedSpan]:
        """Wait for so many spans with a name, and return all of them in the order of their starts."""

        def find() -> list[CollectedSpan]:
            return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_ns)

        wait_until(lambda: len(find()) >= count, 30, f"the collector has {count} spans {name}")
        return find()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


def _decode(body: bytes) -> list[CollectedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        CollectedSpan(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.status.code == span.status.STATUS_CODE_ERROR,
            _decode_attributes(span.attributes),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            _decode_attributes(resource.resource.attributes)["service.name"],
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _decode_attributes(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}
