"""Parts of the listener that make spans. They replace their base classes if the setting `tracing` is on.

| Span | Kind | Covers |
|---|---|---|
| `receive` | server; consumer for a message from the queue | an authenticated callback until its response |
| `store` | internal | the wait for the group commit, and the commit |
| `forward` | client; producer for Kafka | one delivery attempt to a sink |

A message is stored with the context of its `receive` span, so that its attempts are in the same trace after a restart.
A span holds no content, phone number or secret; a rejected callback has none, because anyone can send one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp
from opentelemetry import context, trace
from opentelemetry.trace import SpanKind
from starlette.types import Receive, Scope, Send

from thingspace_provider.listener.forwarding.cloudevents import CloudEvent
from thingspace_provider.listener.forwarding.forwarder import Forwarder
from thingspace_provider.listener.forwarding.metrics import DEAD_LETTER, DELIVERED, FAILED
from thingspace_provider.listener.forwarding.settings import KafkaSettings, SinkSettings
from thingspace_provider.listener.forwarding.sinks.base import DeliveryError, MessageRejected, Sink
from thingspace_provider.listener.forwarding.sinks.http import HttpSink
from thingspace_provider.listener.ingest.callback_endpoint import RETRY_LATER, STORED, CallbackEndpoint
from thingspace_provider.listener.ingest.group_commit import GroupCommitter, NotStored
from thingspace_provider.listener.model import IncomingCallback, OutboxEntry
from thingspace_provider.listener.observability import tracing
from thingspace_provider.listener.store.base import DeadLettered, Delivered, Outcome

TRACE_HEADERS = (b"traceparent", b"tracestate")
HTTP_ROUTE = "/callbacks/{path_token}/{account}"


class TracedEndpoint(CallbackEndpoint):
    """Callback endpoint that continues the trace of a proxy in front of the listener."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in TRACE_HEADERS}
        token = context.attach(tracing.extract_context(headers))
        try:
            await super().__call__(scope, receive, send)
        finally:
            context.detach(token)


class TracedGroupCommitter(GroupCommitter):
    """Group committer that makes the spans `receive` and `store` of each callback."""

    def __init__(self, *args: Any, tracer: trace.Tracer) -> None:
        super().__init__(*args)
        self._tracer = tracer

    async def store(self, incoming: IncomingCallback, timeout_seconds: float) -> None:
        """Store the callback with the context of its span `receive`."""
        is_posted = incoming.callback.queued_at is None
        with self._tracer.start_as_current_span(
            "receive",
            kind=SpanKind.SERVER if is_posted else SpanKind.CONSUMER,
            start_time=incoming.received_at * 1000,
            record_exception=False,  # its stack is in no log either
            attributes={
                "messaging.system": "thingspace",
                "messaging.operation.name": "receive",
                "messaging.operation.type": "process" if is_posted else "receive",
                "messaging.destination.name": incoming.account,
                "messaging.message.body.size": len(incoming.callback.body),
                "thingspace.message.kind": incoming.callback.kind,
                **({"http.request.method": "POST", "http.route": HTTP_ROUTE} if is_posted else {}),
            },
        ) as span:
            traced = incoming._replace(trace_context=tracing.serialize_current_context())
            response = STORED
            try:
                with self._tracer.start_as_current_span("store", record_exception=False):
                    await super().store(traced, timeout_seconds)
            except NotStored:
                response = RETRY_LATER
                raise
            finally:
                if is_posted:
                    span.set_attribute("http.response.status_code", response.status)


class TracedForwarder(Forwarder):
    """Forwarder that makes a span `forward` of each attempt."""

    def __init__(self, settings: SinkSettings, sink: Sink, *args: Any, tracer: trace.Tracer) -> None:
        super().__init__(settings, TracedSink(sink), *args)
        self._tracer = tracer
        self._kind = SpanKind.CLIENT
        self._attributes: dict[str, str] = {"messaging.operation.name": "forward", "messaging.operation.type": "send"}
        self._attributes["thingspace.sink"] = settings.name
        if isinstance(settings, KafkaSettings):
            self._kind = SpanKind.PRODUCER
            self._attributes |= {"messaging.system": "kafka", "messaging.destination.name": settings.topic}
        else:
            self._attributes["http.request.method"] = "POST"

    async def _attempt(self, entry: OutboxEntry, ordering_key: str) -> Outcome | None:
        if not self.accepts(entry.message):
            return await super()._attempt(entry, ordering_key)
        message = entry.message
        with self._tracer.start_as_current_span(
            "forward",
            tracing.parse_context(message.trace_context),
            self._kind,
            {
                **self._attributes,
                "thingspace.account": message.account,
                "thingspace.message.id": message.id,
                "thingspace.message.kind": message.kind,
                "thingspace.message.is_duplicate": message.duplicate_of is not None,
                "thingspace.attempt": entry.delivery.attempts + 1,
            },
        ) as span:
            outcome = await super()._attempt(entry, ordering_key)
            names: dict[type, str] = {Delivered: DELIVERED, DeadLettered: DEAD_LETTER}
            span.set_attribute("thingspace.outcome", names.get(type(outcome), FAILED))
            return outcome


class TracedSink:
    """Sink that sends the context of the current span in the headers of an event, and records errors in the span."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        if isinstance(sink, HttpSink):
            sink.session.trace_configs.append(_build_status_recorder())

    async def deliver(self, event: CloudEvent) -> None:
        """Deliver the event."""
        span = trace.get_current_span()
        span.set_attribute("messaging.message.id", event.id)
        try:
            await self._sink.deliver(replace(event, headers=tuple(tracing.current_headers().items())))
        except (DeliveryError, MessageRejected) as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR, str(error))
            raise

    async def close(self) -> None:
        """Close the sink."""
        await self._sink.close()


def _build_status_recorder() -> aiohttp.TraceConfig:
    async def record(_session: object, _context: object, end: aiohttp.TraceRequestEndParams) -> None:
        trace.get_current_span().set_attribute("http.response.status_code", end.response.status)

    recorder = aiohttp.TraceConfig()
    recorder.on_request_end.append(record)
    recorder.freeze()
    return recorder
