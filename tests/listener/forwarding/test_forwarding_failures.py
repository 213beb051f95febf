"""Repeated kills of the listener and failures of the receiver: each acknowledged message arrives, in order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
import requests

from tests.support.forwarding_harness import build_sink
from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.waiting import join_thread, wait_until
from tests.support.webhook_receiver import ReceivedRequest, Receiver

pytestmark = pytest.mark.long
DEVICES = [f"55512300{number:02}" for number in range(12)]
KILLS = 6
MESSAGES = 60  # acknowledged with the receiver up, and again with it up or down, before each kill


class Sender(threading.Thread):
    """Device that sends numbered messages, each once, and records the acknowledged ones."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.acknowledged: list[str] = []
        self.listener: ListenerProcess | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        number = 0
        with requests.Session() as session:
            session.trust_env = False
            while not self.ended.is_set():
                number += 1
                listener, name = self.listener, f"{self.device}-{number}"
                if listener is None:
                    time.sleep(0.01)
                    continue
                try:
                    body = build_text_callback(name, device=self.device)
                    response = session.post(listener.url + listener.path(), json=body, timeout=5)
                except requests.RequestException:
                    continue
                if response.status_code == 200:
                    self.acknowledged.append(name)
                time.sleep(0.02)


def respond_randomly(chance: random.Random) -> Callable[[ReceivedRequest], tuple[int, dict[str, str]] | float]:
    """Return a responder that accepts most messages, some of them slowly, and fails for the others."""

    def respond(_: ReceivedRequest) -> tuple[int, dict[str, str]] | float:
        number = chance.random()
        if number < 0.1:
            return (chance.choice([500, 503, 429]), {})
        return chance.random() / 10 if number < 0.3 else (204, {})

    return respond


def test_every_acknowledged_message_arrives_in_the_order_of_its_device(
    start: Callable[..., ListenerProcess], receiver: Receiver
) -> None:
    chance = random.Random(20261123)  # noqa: S311  the test is repeatable
    receiver.responder = respond_randomly(chance)
    senders = [Sender(device) for device in DEVICES]

    def wait_for_messages() -> None:
        expected = sum(len(sender.acknowledged) for sender in senders) + MESSAGES
        wait_until(
            lambda: sum(len(sender.acknowledged) for sender in senders) >= expected, 60, "messages are acknowledged"
        )

    for sender in senders:
        sender.start()
    try:
        for kill in range(KILLS):
            listener = start(sinks=[build_sink(receiver, maxAttempts=1000)])
            for sender in senders:
                sender.listener = listener
            wait_for_messages()
            if kill % 2:
                receiver.down()
            wait_for_messages()
            for sender in senders:
                sender.listener = None
            listener.kill()
            if kill % 2:
                receiver.up()
    finally:
        for sender in senders:
            sender.ended.set()
            join_thread(sender)
    receiver.responder = lambda _: (204, {})
    start(sinks=[build_sink(receiver)])
    acknowledged = [name for sender in senders for name in sender.acknowledged]
    receiver.wait(lambda there: set(acknowledged) <= set(there.accepted_texts()), 120)
    firsts = list(dict.fromkeys(receiver.accepted_texts()))
    for sender in senders:
        known = set(sender.acknowledged)
        assert [name for name in firsts if name in known] == sender.acknowledged
