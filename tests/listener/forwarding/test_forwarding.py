"""Stored texts reach real receivers: at least once, in order per device, and no failure delays anybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from tests.support.forwarding_harness import SECRET, metric, send, sink, wait_until
from tests.support.listener_process import ListenerProcess, text
from tests.support.webhook_receiver import Received, Receiver
from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics
from thingspace_provider.listener.store.base import Backlog

Start = Callable[..., ListenerProcess]
POISONED, HEALTHY = "5551230001", "5551230002"


def numbers(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_a_text_is_forwarded_at_once_and_counted(start: Start, receiver: Receiver) -> None:
    listener = start(sinks=[sink(receiver)])
    send(listener, "first", "second")
    receiver.wait_for("first", "second")
    assert receiver.texts() == ["first", "second"]
    (message, _) = listener.messages()
    assert receiver.taken[0].event["data"] == message
    wait_until(lambda: metric(listener, "thingspace_outbox_waiting") == 0)
    assert metric(listener, "thingspace_deliveries_total", outcome="delivered") == 2
    assert metric(listener, "thingspace_sink_breaker_open") == 0
    assert metric(listener, "thingspace_outbox_oldest_seconds") == 0


def test_a_device_whose_text_fails_waits_in_order_and_delays_no_other(start: Start, receiver: Receiver) -> None:
    failing = {"on": True}

    def answer(received: Received) -> tuple[int, dict[str, str]]:
        return (500, {}) if failing["on"] and received.text == "p0" else (204, {})

    receiver.answering = answer
    listener = start(sinks=[sink(receiver)])
    send(listener, *numbers("p", 3), device=POISONED)
    send(listener, *numbers("h", 20))
    receiver.wait_for(*numbers("h", 20))
    assert not {"p0", "p1", "p2"} & set(receiver.texts())
    failing["on"] = False
    receiver.wait_for("p2")
    assert [one for one in receiver.texts() if one.startswith("p")] == numbers("p", 3)
    assert [one for one in receiver.texts() if one.startswith("h")] == numbers("h", 20)


def test_a_long_backlog_is_counted_once_however_many_ask_at_once() -> None:
    counted: list[None] = []

    def count_slowly() -> list[Backlog]:
        counted.append(None)
        time.sleep(0.1)
        return []

    async def ask() -> None:
        figures = ForwardingMetrics(CollectorRegistry())
        figures.backlogs = count_slowly
        await asyncio.gather(*(figures.count() for _ in range(50)))

    asyncio.run(ask())
    assert len(counted) == 1


@pytest.mark.long
def test_the_rest_of_a_backlog_waits_for_its_first_text(start: Start, receiver: Receiver) -> None:
    failures: list[bool] = []  # while the sink takes other texts

    def answer(received: Received) -> tuple[int, dict[str, str]]:
        if received.text == "p0" and len(failures) < 2:
            failures.extend([True] * ("other" in receiver.texts()))
            return (500, {})
        return (204, {})

    receiver.down()
    listener = start(sinks=[sink(receiver)])
    send(listener, *numbers("p", 5), device=POISONED)
    send(listener, "other")
    wait_until(lambda: metric(listener, "thingspace_sink_breaker_open") == 1)
    receiver.answering = answer
    receiver.up()
    receiver.wait_for(*numbers("p", 5))
    assert [one for one in receiver.texts() if one != "other"] == numbers("p", 5)


def test_a_commit_wakes_the_forwarder(start: Start, receiver: Receiver) -> None:
    """Each text is sent after the one before has arrived: by looking now and then alone they would take 24 s."""
    listener = start(sinks=[sink(receiver)])
    deadline = time.monotonic() + 12
    for number in range(12):
        send(listener, str(number))
        receiver.wait(lambda there, number=number: len(there.taken) > number, deadline - time.monotonic())  # type: ignore[misc]


def test_a_sink_that_is_down_loses_nothing_and_delays_no_other(
    start: Start, receiver: Receiver, other: Receiver
) -> None:
    receiver.down()
    listener = start(sinks=[sink(receiver), sink(other, "other")])
    devices = [f"55512300{number:02}" for number in range(10)]
    expected = {device: numbers(device[-2:] + "-", 6) for device in devices}
    for position in range(6):
        for device in devices:
            send(listener, expected[device][position], device=device)
    other.wait(lambda there: len(there.taken) >= 60)
    wait_until(lambda: metric(listener, "thingspace_sink_breaker_open") == 1)
    assert metric(listener, "thingspace_sink_breaker_open", "other") == 0
    assert metric(listener, "thingspace_outbox_waiting") == 60
    assert metric(listener, "thingspace_outbox_oldest_seconds") > 0
    for secret in ("invented-url-token", SECRET):
        assert secret not in listener.log.read_text() + listener.get("/metrics").text
    receiver.up()
    receiver.wait(lambda there: len(there.taken) >= 60, 60)
    for there in (receiver, other):
        for device in devices:
            assert [one for one in there.texts() if one.startswith(device[-2:] + "-")] == expected[device]
    wait_until(lambda: metric(listener, "thingspace_outbox_waiting") == 0)
    assert metric(listener, "thingspace_outbox_dead_letters") == 0
    assert metric(listener, "thingspace_sink_breaker_open") == 0


def test_what_was_not_forwarded_before_a_kill_is_forwarded_after_it(start: Start, receiver: Receiver) -> None:
    """Killed while deliveries are under way, several times: nothing is lost and each device stays in order."""
    receiver.answering = lambda _: 0.02
    sinks = [sink(receiver)]
    sent: dict[str, list[str]] = {f"555123000{number}": [] for number in range(5)}
    for kill in range(3):
        listener = start(sinks=sinks)
        for number in range(10):
            for device, texts in sent.items():
                texts.append(f"{device}-{kill}-{number}")
                send(listener, texts[-1], device=device)
        receiver.wait(lambda there, kill=kill: len(set(there.texts())) > 50 * kill + 5)  # type: ignore[misc]
        listener.kill()
    listener = start(sinks=sinks)
    everything = [one for texts in sent.values() for one in texts]
    receiver.wait_for(*everything)
    for device, texts in sent.items():
        firsts = list(dict.fromkeys(one for one in receiver.texts() if one.startswith(device)))
        assert firsts == texts


def test_only_the_kinds_that_a_sink_asks_for_are_forwarded(start: Start, receiver: Receiver, other: Receiver) -> None:
    listener = start(
        sinks=[sink(receiver, duplicates="skip"), sink(other, "other", kinds=["confirmation"])],
    )
    send(listener, "once", "once")
    confirmation = {"smsDeliveryResponse": {"confirmation": "Delivered"}}
    listener.post(text(smsMessage=None, requestId="r1", deviceResponse=confirmation, status="Success"))
    send(listener, "last")
    receiver.wait_for("last")
    assert receiver.texts() == ["once", "last"]
    other.wait(lambda there: bool(there.taken))
    assert [received.event["type"] for received in other.taken] == ["com.verizon.thingspace.sms.confirmed"]
    wait_until(lambda: metric(listener, "thingspace_deliveries_total", outcome="skipped") == 2)


@pytest.mark.long
def test_a_pause_that_the_sink_asks_for_is_kept(start: Start, receiver: Receiver) -> None:
    first = {"yes": True}

    def answer(_: Received) -> tuple[int, dict[str, str]]:
        busy, first["yes"] = first["yes"], False
        return (429, {"retry-after": "3"}) if busy else (204, {})

    receiver.answering = answer
    listener = start(sinks=[sink(receiver)])
    send(listener, "a")
    wait_until(lambda: "the sink does not work" in listener.log.read_text())
    send(listener, "b", device=POISONED)
    receiver.wait_for("a", "b")
    assert receiver.seen[1].at - receiver.seen[0].at >= 2.9


@pytest.mark.long
def test_a_stop_gives_back_what_is_under_way(start: Start, receiver: Receiver) -> None:
    receiver.answering = lambda _: 60.0
    listener = start(sinks=[sink(receiver)])
    send(listener, "slow", "next")
    receiver.wait(lambda there: len(there.seen) == 1)
    assert listener.stop() == 0
    receiver.answering = lambda _: (204, {})
    start(sinks=[sink(receiver)])
    receiver.wait_for("slow", "next")
    assert receiver.texts() == ["slow", "next"]
