"""Duplicates are stored and marked; equal messages that are no duplicates are not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from tests.support.listener_process import ACCOUNT, OTHER_ACCOUNT, ListenerProcess, build_text_callback
from tests.support.waiting import join_thread
from thingspace_provider.listener.callback_parser import parse_body
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.duplicates import GENERATION_SIZE, WINDOW_US, DuplicateWindow

Start = Callable[..., ListenerProcess]


def build_incoming_callback(at: int, message: str = "T=1", **more: Any) -> IncomingCallback:
    return IncomingCallback(
        ACCOUNT, at, parse_body(json.dumps(build_text_callback(message, **more)).encode()).to_callback()
    )


def fetch_duplicate_marks(listener: ListenerProcess, **parameters: Any) -> list[str | None]:
    return [message["duplicateOf"] for message in listener.messages(**parameters)]


def test_an_equal_message_of_the_same_devices_within_a_minute_is_a_duplicate(start: Start) -> None:
    listener = start()
    both = [{"id": "1", "kind": "mdn"}, {"id": "2", "kind": "iccid"}]
    listener.post(build_text_callback("T=1", deviceIds=both))
    listener.post(
        build_text_callback(
            "T=1", deviceIds=[{"id": "2", "kind": "ICCID"}, {"id": "1", "kind": "MDN"}], callbackCount=2
        )
    )
    listener.post(build_text_callback("T=1", deviceIds=both))
    assert fetch_duplicate_marks(listener) == [None, "1", "1"]


def test_a_message_with_another_text_device_or_account_is_no_duplicate(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("T=1"))
    listener.post(build_text_callback("T=2"))
    listener.post(build_text_callback("T=1", device="5551230002"))
    listener.post(build_text_callback("T=1"), listener.path(OTHER_ACCOUNT))
    assert fetch_duplicate_marks(listener) == [None] * 4


def test_messages_are_duplicates_by_request_id_when_they_have_one(start: Start) -> None:
    listener = start()
    for request in ("r1", "r2", "r1"):
        listener.post(build_text_callback("T=1", requestId=request))
    assert fetch_duplicate_marks(listener) == [None, None, "1"]


def test_duplicates_are_marked_when_they_are_received_at_the_same_time(start: Start) -> None:
    listener = start()
    senders = [
        threading.Thread(target=listener.post, args=(build_text_callback("T=1"),), kwargs={"X-Sender": str(number)})
        for number in range(12)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        join_thread(sender)
    assert fetch_duplicate_marks(listener) == [None] + ["1"] * 11


def test_duplicates_are_marked_when_the_listener_was_killed_in_between(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("T=1"))
    listener.post(build_text_callback("T=2", requestId="r1"))
    listener.kill()
    listener = start()
    listener.post(build_text_callback("T=1"))
    listener.post(build_text_callback("T=2", requestId="r1"))
    assert fetch_duplicate_marks(listener) == [None, None, "1", "2"]


def test_status_callbacks_about_one_message_to_several_devices_are_no_duplicates(start: Start) -> None:
    listener = start()
    delivered = {"smsDeliveryResponse": {"confirmation": "Delivered"}}
    for device, count in (("1", 1), ("2", 1), ("2", 2)):
        listener.post(
            build_text_callback(
                device=device, smsMessage=None, requestId="r1", deviceResponse=delivered, callbackCount=count
            )
        )
    listener.post(build_text_callback(device="1", smsMessage=None, requestId="r1"))
    assert fetch_duplicate_marks(listener, kind="all") == [None, None, "2", None]


def test_an_equal_message_after_the_window_is_no_duplicate() -> None:
    window = DuplicateWindow()
    assert window.find_or_add(build_incoming_callback(0), 1) is None
    assert window.find_or_add(build_incoming_callback(WINDOW_US), 2) == 1
    assert window.find_or_add(build_incoming_callback(WINDOW_US + 1), 3) is None
    assert window.find_or_add(build_incoming_callback(2 * WINDOW_US), 4) == 3


def test_duplicates_are_marked_correctly_when_the_clock_was_set_back() -> None:
    window = DuplicateWindow()
    hour = 60 * WINDOW_US
    assert window.find_or_add(build_incoming_callback(hour), 1) is None
    assert window.find_or_add(build_incoming_callback(hour - WINDOW_US // 2), 2) == 1
    assert window.find_or_add(build_incoming_callback(0), 3) is None
    assert window.find_or_add(build_incoming_callback(1), 4) == 3


def test_the_window_has_a_maximum_and_a_minimum_size() -> None:
    window = DuplicateWindow()
    callback = build_incoming_callback(0).callback
    for number in range(3 * GENERATION_SIZE):
        assert window.find_or_add(IncomingCallback(str(number), number, callback), number) is None
        assert number < GENERATION_SIZE or GENERATION_SIZE <= len(window) <= 2 * GENERATION_SIZE
    oldest = 2 * GENERATION_SIZE
    assert window.find_or_add(IncomingCallback(str(oldest), oldest, callback), 0) == oldest


def test_a_message_is_remembered_for_the_window_when_it_is_the_last_of_its_generation() -> None:
    window = DuplicateWindow()
    for number, at in enumerate((0, WINDOW_US, WINDOW_US + 1, 2 * WINDOW_US)):
        assert window.find_or_add(build_incoming_callback(at, str(number)), number) is None
    assert window.find_or_add(build_incoming_callback(2 * WINDOW_US, "1"), 9) == 1
