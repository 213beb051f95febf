"""Two replicas on one PostgreSQL store forward to one receiver; one of them is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.forwarding_harness import build_sink, read_metric, send
from tests.support.listener_process import ListenerProcess
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.long
DEVICES = [f"55512300{number:02}" for number in range(8)]


def test_replicas_share_deliveries_in_order_and_take_over_when_one_is_killed(
    postgres: PostgresServer, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.responder = lambda _: 0.05
    folders = [tmp_path / "one", tmp_path / "two"]
    database = postgres.create_database()
    listeners: list[ListenerProcess] = []
    sent: dict[str, list[str]] = {device: [] for device in DEVICES}

    def send_ten() -> None:
        for number in range(10):
            for device, messages in sent.items():
                messages.append(f"{device}-{len(messages)}")
                send(listeners[number % 2], messages[-1], device=device)

    def both_deliver() -> bool:
        """Send messages, because a replica that leases none polls later, and return whether both have delivered."""
        send_ten()
        return all(read_metric(listener, "thingspace_deliveries_total", outcome="delivered") for listener in listeners)

    try:
        for folder in folders:
            folder.mkdir()
            sinks = [build_sink(receiver, timeoutSeconds=2)]
            listeners.append(ListenerProcess(folder, store=database, sinks=sinks))
        wait_until(both_deliver, 60, "both listeners deliver")
        receiver.responder = lambda _: (503, {})  # entries are pending when the replica is killed
        send_ten()
        wait_until(
            lambda: read_metric(listeners[1], "thingspace_outbox_pending") >= len(DEVICES) * 10,
            60,
            "all messages are pending",
        )
        listeners[0].kill()
        receiver.responder = lambda _: 0.05
        receiver.wait_for(*(message for messages in sent.values() for message in messages), seconds=60)
    finally:
        for listener in listeners:
            listener.kill()
    for device, messages in sent.items():
        assert list(dict.fromkeys(text for text in receiver.accepted_texts() if text.startswith(device))) == messages
