"""Emulator and listener together: the listener is killed again and again while devices send, and no text is missing."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ACCOUNT, PASSWORD, USERNAME, ListenerProcess, quiet_port
from tests.support.raw_api_client import Caller

Start = Callable[..., ListenerProcess]
DUPLICATES = 20


def send(platform: Caller, numbers: range) -> None:
    for number in numbers:
        platform.text(f"T={number}")


def waiting(platform: Caller) -> int:
    """Texts in the queue and on their way."""
    queue = platform.control("GET", f"queue?accountName={ACCOUNT}").json()
    return int(queue["count"] + queue["inFlight"])


def newest(listener: ListenerProcess) -> int:
    """The last id in the inbox."""
    return int(listener.answer(last=1, kind="all")["next"] or 0)


def drain(platform: Caller) -> None:
    """Have everything sent that waits, as somebody does after an outage."""
    until = time.monotonic() + 60
    while waiting(platform):
        assert time.monotonic() < until, "texts still wait in the queue"
        assert platform.start().status == 200
        platform.control("GET", "settled?timeoutSeconds=5")


def survive(start: Start, platform: Caller, texts: int, kills: int) -> list[dict[str, Any]]:
    """Kill the listener so many times while a queue is drained and more texts come; what the inbox has in the end."""
    chance = random.Random(texts)  # noqa: S311  the same every time
    send(platform, range(texts // 2))
    listener = start(port=quiet_port())
    url = listener.ready["callbackUrls"][ACCOUNT]
    assert platform.register(url, username=USERNAME, password=PASSWORD).status == 200
    platform.control("POST", "faults", {"operation": "delivery", "duplicate": 1, "skip": 10, "times": DUPLICATES})
    devices = threading.Thread(target=send, args=(platform, range(texts // 2, texts)))
    devices.start()
    for _ in range(kills):
        assert platform.start().status == 200
        enough = newest(listener) + chance.randrange(1, texts // kills // 2)
        while newest(listener) < enough and (devices.is_alive() or waiting(platform)):
            time.sleep(0.0005)
        listener.kill()
        listener = start(port=listener.port)
    devices.join(120)
    drain(platform)
    return listener.messages()


@pytest.mark.parametrize(
    ("texts", "kills", "body"),
    [
        (500, 4, "minimal"),
        # Without a request id only a minute links copies, and the last drain may come later than that.
        pytest.param(10_000, 40, "modern", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_every_text_is_in_the_inbox_once_or_marked_however_often_the_listener_was_killed(
    start: Start, texts: int, kills: int, body: str
) -> None:
    switches = ("registrationPorts=any", "profile=observed", f"callbackBody={body}")
    with EmulatorProcess(*(option for switch in switches for option in ("--switch", switch))) as emulator:
        messages = survive(start, emulator.caller.ready(), texts, kills)
    copies = defaultdict(list)
    for message in messages:
        copies[message["text"]].append(message)
    assert set(copies) == {f"T={number}" for number in range(texts)}
    for first, *others in copies.values():
        assert first["duplicateOf"] is None
        assert [other["duplicateOf"] for other in others] == [first["id"]] * len(others)
    assert len(messages) > texts  # of the copies, some were on their way when the listener was killed
