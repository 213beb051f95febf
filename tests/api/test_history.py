"""History pages: acknowledgement against the emulator, and parsing of responses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.fake_transport import FakeTransport
from thingspace_provider.api import HistoryPage, ThingSpaceClient, errors


def read_contents(page: HistoryPage) -> list[str]:
    return [message["message"] for message in page.messages]


def test_a_page_is_acknowledged_by_the_request_for_the_next(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    for number in range(101):
        emulator.send_message(f"message {number}")
    first = thingspace.read_history(ACCOUNT)
    assert read_contents(first) == [f"message {number}" for number in range(100)]
    assert set(first.messages[0]) == {"deviceIds", "message", "timestamp"}
    assert read_contents(thingspace.read_history(ACCOUNT)) == read_contents(first)  # nothing was acknowledged yet
    assert first.has_more
    second = thingspace.read_history(ACCOUNT, first.next_token)
    assert read_contents(second) == ["message 100"]
    assert not second.has_more
    assert emulator.count_queued() == 1
    assert thingspace.read_history(ACCOUNT, second.next_token) == HistoryPage((), None, has_more=False)
    assert emulator.count_queued() == 0


@pytest.mark.parametrize("form", ["object", "zeroLength"])
def test_an_empty_queue_is_an_empty_page(thingspace: ThingSpaceClient, emulator: EmulatorProcess, form: str) -> None:
    emulator.control("PUT", "switches", {"emptyHistory": form})
    assert thingspace.read_history(ACCOUNT) == HistoryPage((), None, has_more=False)


@pytest.mark.parametrize(
    "location",
    [
        "/sms/x/history?next=a%2Fb%26c",
        "https://client.example/api/m2m/v1/sms/x/history?next=a%2Fb%26c",
        "history?other=1&next=a%2Fb%26c#x",
    ],
)
def test_the_next_page_token_is_parsed_from_any_location(
    client: ThingSpaceClient, transport: FakeTransport, location: str
) -> None:
    body = {"messages": [{"message": "x"}], "hasMoreData": True}
    transport.add_fault("smsHistory", 202, body, headers={"Location": location})
    assert client.read_history(ACCOUNT).next_token == "a/b&c"


@pytest.mark.parametrize("body", [{"messages": "none"}, {"messages": ["x"]}, {"entries": []}])
def test_a_response_without_messages_is_an_error(client: ThingSpaceClient, transport: FakeTransport, body: Any) -> None:
    transport.add_fault("smsHistory", 200, body)
    with pytest.raises(errors.UnexpectedResponse, match=f"reading queued messages failed for account {ACCOUNT}"):
        client.read_history(ACCOUNT)
