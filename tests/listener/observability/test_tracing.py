"""Traces of messages, with a collector that decodes OTLP."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from standardwebhooks import Webhook

from tests.support.emulator_process import EmulatorProcess
from tests.support.forwarding_harness import DEVICE, SECRET, build_sink, send
from tests.support.listener_process import (
    API_TOKEN,
    COMMAND,
    PASSWORD,
    PATH_TOKEN,
    ListenerProcess,
    build_settings,
    build_text_callback,
    clean_environment,
    reserve_port,
)
from tests.support.recovery_harness import build_recovery_settings, register
from tests.support.trace_collector import TraceCollector
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver
from thingspace_provider.api import ThingSpaceClient

UPSTREAM_TRACE, UPSTREAM_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = 1  # flag of traceparent
Start = Callable[..., ListenerProcess]


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    running = TraceCollector()
    yield running
    running.close()


def test_opentelemetry_is_imported_only_when_tracing_is_on(
    tmp_path: Path, start: Start, receiver: Receiver, collector: TraceCollector
) -> None:
    for is_on in (False, True):
        before = (*collector.variables, "PYTHONPROFILEIMPORTTIME=1")  # writes each import to the log
        listener = start(before=before, sinks=[build_sink(receiver)], tracing=is_on)
        send(listener, f"tracing {is_on}")
        receiver.wait_for(f"tracing {is_on}")
        assert listener.stop() == 0
        assert ("opentelemetry" in (tmp_path / "listener.log").read_text()) == is_on
        assert ("traceparent" in receiver.accepted[-1].event) == is_on
        assert ("traceparent" in receiver.accepted[-1].headers) == is_on
    assert len(collector.wait_for("receive")) == 1


def test_message_has_one_trace_when_the_listener_restarts_between_store_and_forward(
    start: Start, receiver: Receiver, collector: TraceCollector
) -> None:
    receiver.down()
    options = {"before": collector.variables, "sinks": [build_sink(receiver)], "tracing": True}
    first = start(**options)
    upstream = f"00-{UPSTREAM_TRACE}-{UPSTREAM_SPAN}-01"
    callback = build_text_callback("T=21.5", device=DEVICE)
    assert first.post(callback, traceparent=upstream, tracestate="vendor=1").status_code == 200
    [received], [stored] = collector.wait_for("receive"), collector.wait_for("store")
    assert first.stop() == 0
    attempts_before = len(collector.spans)
    receiver.up()
    start(**options)
    receiver.wait_for("T=21.5")
    wait_until(lambda: len(collector.spans) > attempts_before, 30, "the collector has the last span")
    *failed, delivered = collector.wait_for("forward")

    assert {span.trace_id for span in collector.spans} == {UPSTREAM_TRACE}
    assert received.parent_id == UPSTREAM_SPAN
    assert {span.parent_id for span in (stored, *failed, delivered)} == {received.span_id}
    assert received.start_ns <= stored.start_ns <= stored.end_ns <= received.end_ns < delivered.start_ns
    assert [received.kind, stored.kind, delivered.kind] == [
        Span.SPAN_KIND_SERVER,
        Span.SPAN_KIND_INTERNAL,
        Span.SPAN_KIND_CLIENT,
    ]
    assert received.service_name == "thingspace-listener"
    assert received.attributes["http.response.status_code"] == 200
    assert received.attributes["messaging.destination.name"] == "0000123456-00001"
    assert all(span.is_error and span.attributes["thingspace.outcome"] == "failed" for span in failed)
    assert not delivered.is_error
    assert delivered.attributes["thingspace.outcome"] == "delivered"
    assert delivered.attributes["http.response.status_code"] == 204

    [request] = receiver.accepted
    assert request.headers["traceparent"] == f"00-{UPSTREAM_TRACE}-{delivered.span_id}-01"
    assert request.headers["tracestate"] == "vendor=1"
    assert request.event["traceparent"] == f"00-{UPSTREAM_TRACE}-{received.span_id}-01"
    assert request.event["tracestate"] == "vendor=1"
    assert delivered.attributes["messaging.message.id"] == request.event["id"]
    Webhook(SECRET).verify(request.body, request.headers)

    sent = b"".join(collector.bodies)
    for value in ("T=21.5", DEVICE, PASSWORD, PATH_TOKEN, "invented-url-token", SECRET):
        assert value.encode() not in sent


@pytest.mark.long
def test_attempts_are_spans_of_the_same_event_when_a_receiver_fails(
    start: Start, receiver: Receiver, collector: TraceCollector
) -> None:
    responses = iter([500, 204, 410, 204])
    receiver.responder = lambda _: (next(responses), {})
    listener = start(before=collector.variables, sinks=[build_sink(receiver)], tracing=True)
    send(listener, "retried")
    receiver.wait_for("retried")
    send(listener, "rejected")
    collector.wait_for("forward", 3)
    dead_letters = f"{listener.admin_url}/v1/dead-letters"
    retry = requests.post(f"{dead_letters}/retry", headers={"Authorization": f"Bearer {API_TOKEN}"}, timeout=10)
    assert retry.status_code == 200
    receiver.wait_for("rejected")
    first, second, third, fourth = collector.wait_for("forward", 4)
    names = ("thingspace.attempt", "thingspace.outcome", "http.response.status_code")
    assert [tuple(span.attributes[name] for name in names) for span in (first, second, third, fourth)] == [
        (1, "failed", 500),
        (2, "delivered", 204),
        (1, "dead_letter", 410),
        (1, "delivered", 204),
    ]
    assert [span.is_error for span in (first, second, third, fourth)] == [True, False, True, False]
    assert first.trace_id == second.trace_id != third.trace_id == fourth.trace_id
    assert receiver.requests[0].body == receiver.requests[1].body
    assert receiver.requests[0].headers["traceparent"] != receiver.requests[1].headers["traceparent"]


def test_trace_is_new_when_traceparent_is_invalid_and_missing_when_the_callback_is_rejected(
    start: Start, collector: TraceCollector
) -> None:
    listener = start(before=collector.variables, tracing=True)
    valid = f"00-{UPSTREAM_TRACE}-{UPSTREAM_SPAN}-01"
    assert listener.post(build_text_callback(password="wrong"), traceparent=valid).status_code == 403
    assert listener.post(build_text_callback(), listener.path("unknown"), traceparent=valid).status_code == 404
    assert listener.post(build_text_callback(), traceparent=f"00-{'0' * 32}-{UPSTREAM_SPAN}-01").status_code == 200
    assert listener.stop() == 0
    assert [span.name for span in collector.spans] == ["store", "receive"]
    assert {span.trace_id for span in collector.spans}.isdisjoint({UPSTREAM_TRACE, "0" * 32})


@pytest.mark.long
def test_events_have_a_context_and_no_span_is_exported_when_the_sampler_drops_the_trace(
    start: Start, receiver: Receiver, collector: TraceCollector
) -> None:
    variables = (*collector.variables, "OTEL_TRACES_SAMPLER=always_off")
    listener = start(before=variables, sinks=[build_sink(receiver)], tracing=True)
    send(listener, "not sampled")
    receiver.wait_for("not sampled")
    assert listener.stop() == 0
    flags = int(receiver.accepted[0].event["traceparent"].rpartition("-")[2], 16)
    assert not flags & SAMPLED
    assert collector.spans == []


@pytest.mark.long
@pytest.mark.parametrize("is_hanging", [False, True])
def test_messages_are_delivered_and_the_stop_is_bounded_when_the_collector_is_dead(
    start: Start, receiver: Receiver, *, is_hanging: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never responds
        port = silent.getsockname()[1] if is_hanging else reserve_port()
        variables = (
            *("env", f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY=50"),
            *("OTEL_BSP_MAX_QUEUE_SIZE=4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=4", "OTEL_EXPORTER_OTLP_TIMEOUT=1"),
        )
        listener = start(before=variables, sinks=[build_sink(receiver)], tracing=True, sourceAddressPolicy="off")
        expected = [f"message {number}" for number in range(20)]  # more spans than the queue holds
        send(listener, *expected)
        receiver.wait_for(*expected)
        assert receiver.accepted_texts() == expected
        wait_until(lambda: "trace_export_failed" in listener.log.read_text(), 30, "the failed export is logged")
        begun = time.monotonic()
        assert listener.stop() == 0
        assert time.monotonic() - begun < 10
    events = [json.loads(line)["event"] for line in listener.log.read_text().splitlines()]
    assert events == ["listener_started", "trace_export_failed", "listener_stopped"]


def test_start_fails_with_the_installation_when_the_extra_is_missing(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError")
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(build_settings(tmp_path, tracing=True)))
    for option in ((), ("--check",)):
        result = subprocess.run(
            [*COMMAND, "--settings", str(file), *option],
            env=clean_environment(PYTHONPATH=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert result.returncode == 1
        assert "pip install -e '.[listener,telemetry]'" in result.stderr


def test_start_fails_when_a_variable_is_invalid(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(build_settings(tmp_path, tracing=True)))
    result = subprocess.run(
        [*COMMAND, "--settings", str(file)],
        env=clean_environment(OTEL_BSP_MAX_QUEUE_SIZE="-1", OTEL_EXPORTER_OTLP_HEADERS="invented secret"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert "max_queue_size" in result.stderr
    assert "invented secret" not in result.stderr


@pytest.mark.long
def test_message_from_the_queue_has_a_trace(
    start: Start, any_port_emulator: EmulatorProcess, thingspace: ThingSpaceClient, collector: TraceCollector
) -> None:
    first = start(port=reserve_port())
    register(thingspace, first)
    first.stop()
    any_port_emulator.send_message("queued")
    wait_until(lambda: any_port_emulator.count_queued() == 1, 60, "the message is queued")
    recovery = build_recovery_settings(any_port_emulator, "history")
    start(before=collector.variables, port=first.port, tracing=True, **recovery)
    [received] = collector.wait_for("receive")
    [stored] = collector.wait_for("store")
    assert received.kind == Span.SPAN_KIND_CONSUMER
    assert received.attributes["messaging.operation.type"] == "receive"
    assert "http.route" not in received.attributes
    assert stored.parent_id == received.span_id
