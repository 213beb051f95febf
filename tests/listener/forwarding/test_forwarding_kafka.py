"""Forwarding to a real Kafka broker that is killed and restarted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.forwarding_harness import read_metric, send
from tests.support.kafka_broker import MISSING, KafkaBroker
from tests.support.listener_process import ListenerProcess
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),  # the first run downloads the broker with Maven
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
DEVICES = [f"555123000{number}" for number in range(5)]


def group_by_device(broker: KafkaBroker) -> dict[str, list[str]]:
    """Return the messages of each device in the order of the topic, without duplicates."""
    messages_by_device: dict[str, list[str]] = {}
    for record in broker.read_records("messages"):
        key, value = record.key(), record.value()
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        messages = messages_by_device.setdefault(key.decode().removeprefix("mdn:"), [])
        message = json.loads(value)["data"]["text"]
        if message not in messages:
            messages.append(message)
    return messages_by_device


def test_messages_sent_while_the_broker_is_killed_are_all_delivered_in_order(
    start: Callable[..., ListenerProcess], tmp_path: Path
) -> None:
    broker = KafkaBroker(tmp_path)
    try:
        broker.create_topic("messages")
        sink: dict[str, Any] = {
            "name": "stream",
            "kind": "kafka",
            "bootstrapServers": broker.address,
            "topic": "messages",
            "timeoutSeconds": 3,
        }
        listener = start(sinks=[sink])
        sent: dict[str, list[str]] = {device: [] for device in DEVICES}

        def send_round(prefix: str, rounds: int) -> None:
            for number in range(rounds):
                for device, messages in sent.items():
                    messages.append(f"{prefix}-{number}")
                    send(listener, messages[-1], device=device)

        def is_open() -> bool:
            return read_metric(listener, "thingspace_circuit_breaker_open", "stream") == 1

        send_round("before", 10)
        broker.kill()
        send_round("while down", 20)
        wait_until(is_open, 60, "the circuit breaker opens")
        broker.start()
        send_round("after", 10)
        wait_until(lambda: read_metric(listener, "thingspace_outbox_pending", "stream") == 0, 90, "the outbox is empty")
        assert read_metric(listener, "thingspace_outbox_dead_letters", "stream") == 0
        assert not is_open()
        assert group_by_device(broker) == sent
    finally:
        broker.kill()
