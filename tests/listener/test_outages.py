"""Emulator and listener together: the listener is killed again and again while devices send, and no text is missing."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ACCOUNT, PASSWORD, USERNAME, ListenerProcess, reserve_port
from tests.support.raw_api_client import RawApiClient
from tests.support.waiting import join_thread, wait_until

Start = Callable[..., ListenerProcess]
DUPLICATES = 20


def send(platform: RawApiClient, numbers: range) -> None:
    for number in numbers:
        platform.send_message(f"T={number}")


def count_waiting(platform: RawApiClient) -> int:
    """Return the number of messages in the queue and in flight."""
    queue = platform.control("GET", f"queue?accountName={ACCOUNT}").json()
    return int(queue["count"] + queue["inFlight"])


def fetch_newest(listener: ListenerProcess) -> int:
    """The last id in the inbox."""
    return int(listener.fetch_page(newest=1, kind="all")["next"] or 0)


def drain(platform: RawApiClient) -> None:
    """Send startCallbacks until the queue is empty, as an operator does after an outage."""

    def is_drained() -> bool:
        if not count_waiting(platform):
            return True
        assert platform.start_callbacks().status == 200
        platform.control("GET", "idle?timeoutSeconds=5")
        return False

    wait_until(is_drained, 60, "the queue is empty")


def survive_kills(start: Start, platform: RawApiClient, message_count: int, kills: int) -> list[dict[str, Any]]:
    """Kill the listener repeatedly during a drain, and return the messages of the inbox at the end."""
    chance = random.Random(message_count)  # noqa: S311  the same every time
    send(platform, range(message_count // 2))
    listener = start(port=reserve_port())
    url = listener.ready["callbackUrls"][ACCOUNT]
    assert platform.register(url, username=USERNAME, password=PASSWORD).status == 200
    platform.control("POST", "faults", {"operation": "delivery", "duplicate": 1, "skip": 10, "times": DUPLICATES})
    devices = threading.Thread(target=send, args=(platform, range(message_count // 2, message_count)))
    devices.start()
    for _ in range(kills):
        assert platform.start_callbacks().status == 200
        enough = fetch_newest(listener) + chance.randrange(1, message_count // kills // 2)
        wait_until(  # short pauses, so that each kill comes at a random moment of the drain
            lambda: fetch_newest(listener) >= enough or not (devices.is_alive() or count_waiting(platform)),  # noqa: B023
            60,
            "the listener stores more messages",
            interval_seconds=0.0005,
        )
        listener.kill()
        listener = start(port=listener.port)
    join_thread(devices, 120)
    drain(platform)
    return listener.messages()


@pytest.mark.parametrize(
    ("message_count", "kills", "body"),
    [
        (500, 4, "minimal"),
        # Without a request id only a minute links copies, and the last drain may come later than that.
        pytest.param(10_000, 40, "modern", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_every_message_is_stored_once_or_marked_however_often_the_listener_was_killed(
    start: Start, message_count: int, kills: int, body: str
) -> None:
    switches = ("registrationPorts=any", "preset=observed", f"callbackBody={body}")
    with EmulatorProcess(*(option for switch in switches for option in ("--switch", switch))) as emulator:
        messages = survive_kills(start, emulator.caller.log_in(), message_count, kills)
    copies = defaultdict(list)
    for message in messages:
        copies[message["text"]].append(message)
    assert set(copies) == {f"T={number}" for number in range(message_count)}
    for first, *others in copies.values():
        assert first["duplicateOf"] is None
        assert [other["duplicateOf"] for other in others] == [first["id"]] * len(others)
    assert len(messages) > message_count  # of the copies, some were on their way when the listener was killed
