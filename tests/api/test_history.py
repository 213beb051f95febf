"""Reading the queue by blocks, against the emulator's ways of acknowledging the last one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from thingspace_provider.api import HistoryPage, ThingSpaceClient, errors


def parse_texts(block: HistoryPage) -> list[str]:
    return [message["message"] for message in block.messages]


def test_each_block_is_acknowledged_by_asking_for_the_next(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    for number in range(101):
        emulator.send_message(f"text {number}")
    first = thingspace.read_history(ACCOUNT)
    assert parse_texts(first) == [f"text {number}" for number in range(100)]
    assert set(first.messages[0]) == {"deviceIds", "message", "timestamp"}
    assert parse_texts(thingspace.read_history(ACCOUNT)) == parse_texts(first)  # nothing was acknowledged yet
    assert first.has_more
    second = thingspace.read_history(ACCOUNT, first.next_token)
    assert parse_texts(second) == ["text 100"]
    assert not second.has_more
    assert emulator.count_queued() == 1
    assert thingspace.read_history(ACCOUNT, second.next_token) == HistoryPage((), None, has_more=False)
    assert emulator.count_queued() == 0


@pytest.mark.parametrize("form", ["object", "zeroLength"])
def test_an_empty_queue_is_an_empty_block(thingspace: ThingSpaceClient, emulator: EmulatorProcess, form: str) -> None:
    emulator.control("PUT", "switches", {"emptyHistory": form})
    assert thingspace.read_history(ACCOUNT) == HistoryPage((), None, has_more=False)


@pytest.mark.parametrize(
    "location",
    [
        "/sms/x/history?next=a%2Fb%26c",
        "https://thingspace.example/api/m2m/v1/sms/x/history?next=a%2Fb%26c",
        "history?other=1&next=a%2Fb%26c#x",
    ],
)
def test_the_next_page_token_is_read_from_any_form_of_address(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, location: str
) -> None:
    body = {"messages": [{"message": "x"}], "hasMoreData": True}
    response = {"status": 202, "body": body, "headers": {"Location": location}}
    emulator.control("POST", "faults", {"operation": "smsHistory", "response": response, "times": 1})
    assert thingspace.read_history(ACCOUNT).next_token == "a/b&c"


@pytest.mark.parametrize("body", [{"messages": "none"}, {"messages": ["x"]}, {"entries": []}])
def test_an_answer_that_is_no_block_is_not_taken_for_an_empty_one(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, body: Any
) -> None:
    emulator.add_fault("smsHistory", 200, body)
    with pytest.raises(errors.UnexpectedResponse, match=f"reading queued messages failed for account {ACCOUNT}"):
        thingspace.read_history(ACCOUNT)
