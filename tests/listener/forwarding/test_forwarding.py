"""Forwarding to real receivers: at least once, in order for each device, and no failure delays other deliveries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from tests.support.forwarding_harness import SECRET, build_sink, read_metric, send
from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import ReceivedRequest, Receiver
from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics
from thingspace_provider.listener.store.base import Backlog

Start = Callable[..., ListenerProcess]
POISONED, HEALTHY = "5551230001", "5551230002"


def build_numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_a_message_is_forwarded_at_once_and_counted(start: Start, receiver: Receiver) -> None:
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "first", "second")
    receiver.wait_for("first", "second")
    assert receiver.accepted_texts() == ["first", "second"]
    (message, _) = listener.messages()
    assert receiver.accepted[0].event["data"] == message
    wait_until(lambda: read_metric(listener, "thingspace_outbox_pending") == 0, 60, "the outbox is empty")
    assert read_metric(listener, "thingspace_deliveries_total", outcome="delivered") == 2
    assert read_metric(listener, "thingspace_circuit_breaker_open") == 0
    assert read_metric(listener, "thingspace_outbox_oldest_age_seconds") == 0


def test_a_device_with_a_failing_message_waits_in_order_and_delays_no_other(start: Start, receiver: Receiver) -> None:
    failing = {"on": True}

    def respond(received: ReceivedRequest) -> tuple[int, dict[str, str]]:
        return (500, {}) if failing["on"] and received.text == "p0" else (204, {})

    receiver.responder = respond
    listener = start(sinks=[build_sink(receiver)])
    send(listener, *build_numbered("p", 3), device=POISONED)
    send(listener, *build_numbered("h", 20))
    receiver.wait_for(*build_numbered("h", 20))
    assert not {"p0", "p1", "p2"} & set(receiver.accepted_texts())
    failing["on"] = False
    receiver.wait_for("p2")
    assert [message for message in receiver.accepted_texts() if message.startswith("p")] == build_numbered("p", 3)
    assert [message for message in receiver.accepted_texts() if message.startswith("h")] == build_numbered("h", 20)


def test_a_long_backlog_is_counted_once_for_many_concurrent_requests() -> None:
    counted: list[None] = []

    def count_slowly() -> list[Backlog]:
        counted.append(None)
        time.sleep(0.1)
        return []

    async def fetch_metrics() -> None:
        figures = ForwardingMetrics(CollectorRegistry())
        figures.backlogs = count_slowly
        await asyncio.gather(*(figures.refresh_backlog() for _ in range(50)))

    asyncio.run(fetch_metrics())
    assert len(counted) == 1


@pytest.mark.long
def test_the_rest_of_a_backlog_waits_for_its_first_message(start: Start, receiver: Receiver) -> None:
    failures: list[bool] = []  # while the sink accepts other messages
    others = build_numbered(
        "other", 7
    )  # one of eight messages is the probe delivery: p0 six times in a row is unlikely

    def respond(received: ReceivedRequest) -> tuple[int, dict[str, str]]:
        if received.text == "p0" and len(failures) < 2:
            failures.extend([True] * bool(set(others) & set(receiver.accepted_texts())))
            return (500, {})
        return (204, {})

    receiver.down()
    listener = start(sinks=[build_sink(receiver)])
    send(listener, *build_numbered("p", 5), device=POISONED)
    for other in others:
        send(listener, other, device=f"55512310{other[-1]}0")
    wait_until(lambda: read_metric(listener, "thingspace_circuit_breaker_open") == 1, 60, "the circuit breaker opens")
    receiver.responder = respond
    receiver.up()
    receiver.wait_for(*build_numbered("p", 5), seconds=100)
    assert [text for text in receiver.accepted_texts() if text not in others] == build_numbered("p", 5)


def test_a_commit_wakes_the_forwarder(start: Start, receiver: Receiver) -> None:
    """Each message is sent after the previous one has arrived. With polling alone they would take 24 s."""
    listener = start(sinks=[build_sink(receiver)])
    deadline = time.monotonic() + 12
    for number in range(12):
        send(listener, str(number))
        receiver.wait(lambda there, number=number: len(there.accepted) > number, deadline - time.monotonic())  # type: ignore[misc]


def test_a_sink_that_is_down_loses_nothing_and_delays_no_other(
    start: Start, receiver: Receiver, other: Receiver
) -> None:
    receiver.down()
    listener = start(sinks=[build_sink(receiver), build_sink(other, "other")])
    devices = [f"55512300{number:02}" for number in range(10)]
    expected = {device: build_numbered(device[-2:] + "-", 6) for device in devices}
    for position in range(6):
        for device in devices:
            send(listener, expected[device][position], device=device)
    other.wait(lambda there: len(there.accepted) >= 60)
    wait_until(lambda: read_metric(listener, "thingspace_circuit_breaker_open") == 1, 60, "the circuit breaker opens")
    assert read_metric(listener, "thingspace_circuit_breaker_open", "other") == 0
    assert read_metric(listener, "thingspace_outbox_pending") == 60
    assert read_metric(listener, "thingspace_outbox_oldest_age_seconds") > 0
    for secret in ("invented-url-token", SECRET):
        assert secret not in listener.log.read_text() + listener.get("/metrics").text
    receiver.up()
    receiver.wait(lambda there: len(there.accepted) >= 60, 60)
    for there in (receiver, other):
        for device in devices:
            assert [message for message in there.accepted_texts() if message.startswith(device[-2:] + "-")] == expected[
                device
            ]
    wait_until(lambda: read_metric(listener, "thingspace_outbox_pending") == 0, 60, "the outbox is empty")
    assert read_metric(listener, "thingspace_outbox_dead_letters") == 0
    assert read_metric(listener, "thingspace_circuit_breaker_open") == 0


def test_entries_that_were_pending_at_a_kill_are_delivered_after_it(start: Start, receiver: Receiver) -> None:
    """Several kills during deliveries: no message is lost, and the messages of each device stay in order."""
    receiver.responder = lambda _: 0.02
    sinks = [build_sink(receiver)]
    sent: dict[str, list[str]] = {f"555123000{number}": [] for number in range(5)}
    for kill in range(3):
        listener = start(sinks=sinks)
        for number in range(10):
            for device, messages in sent.items():
                messages.append(f"{device}-{kill}-{number}")
                send(listener, messages[-1], device=device)
        receiver.wait(lambda there, kill=kill: len(set(there.accepted_texts())) > 50 * kill + 5)  # type: ignore[misc]
        listener.kill()
    listener = start(sinks=sinks)
    expected = [message for messages in sent.values() for message in messages]
    receiver.wait_for(*expected)
    for device, messages in sent.items():
        firsts = list(dict.fromkeys(text for text in receiver.accepted_texts() if text.startswith(device)))
        assert firsts == messages


def test_only_the_configured_kinds_are_forwarded(start: Start, receiver: Receiver, other: Receiver) -> None:
    listener = start(
        sinks=[build_sink(receiver, duplicates="skip"), build_sink(other, "other", messageKinds=["confirmation"])],
    )
    send(listener, "once", "once")
    confirmation = {"smsDeliveryResponse": {"confirmation": "Delivered"}}
    listener.post(build_text_callback(smsMessage=None, requestId="r1", deviceResponse=confirmation, status="Success"))
    send(listener, "last")
    receiver.wait_for("last")
    assert receiver.accepted_texts() == ["once", "last"]
    other.wait(lambda there: bool(there.accepted))
    assert [received.event["type"] for received in other.accepted] == ["com.verizon.thingspace.sms.confirmed"]
    wait_until(
        lambda: read_metric(listener, "thingspace_deliveries_total", outcome="skipped") == 2,
        60,
        "both deliveries are skipped",
    )


@pytest.mark.long
def test_the_retry_after_of_a_sink_is_respected(start: Start, receiver: Receiver) -> None:
    first = {"yes": True}

    def respond(_: ReceivedRequest) -> tuple[int, dict[str, str]]:
        busy, first["yes"] = first["yes"], False
        return (429, {"retry-after": "3"}) if busy else (204, {})

    receiver.responder = respond
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "a")
    wait_until(
        lambda: "circuit_breaker_opened" in listener.log.read_text(), 60, "the log has the opened circuit breaker"
    )
    send(listener, "b", device=POISONED)
    receiver.wait_for("a", "b")
    assert receiver.requests[1].received_at - receiver.requests[0].received_at >= 2.9


@pytest.mark.long
def test_a_stop_releases_the_leased_entries(start: Start, receiver: Receiver) -> None:
    receiver.responder = lambda _: 60.0
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "slow", "next")
    receiver.wait(lambda there: len(there.requests) == 1)
    assert listener.stop() == 0
    receiver.responder = lambda _: (204, {})
    start(sinks=[build_sink(receiver)])
    receiver.wait_for("slow", "next")
    assert receiver.accepted_texts() == ["slow", "next"]
