from __future__ import annotations

import re

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, RawApiClient, parse_messages, parse_next_token
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

UNKNOWN_TOKEN = "EnhancedConnectivityService.REQUEST_FAILED.UnexpectedError"


def fill(client: RawApiClient, count: int) -> list[str]:
    messages = [f"t{number:03}" for number in range(count)]
    for message in messages:
        client.send_message(message)
    return messages


@holds("smsHistory.page", "smsHistory.acknowledge", "smsHistory.last")
def test_the_queue_is_read_in_pages_of_a_hundred_each_acknowledged_by_its_token(client: RawApiClient) -> None:
    messages = fill(client, 205)
    first = client.fetch_history()
    assert (first.status, first.json()["hasMoreData"], parse_messages(first)) == (202, True, messages[:100])
    assert len(client.control("GET", f"queue?accountName={ACCOUNT}").json()["messages"]) == 205
    second = client.fetch_history(parse_next_token(first))
    assert (second.status, parse_messages(second)) == (202, messages[100:200])
    assert len(client.fetch_queue()) == 105
    third = client.fetch_history(parse_next_token(second))
    assert (third.status, third.json()["hasMoreData"], parse_messages(third)) == (200, False, messages[200:])
    assert client.fetch_queue() == messages[200:]
    assert client.fetch_history(parse_next_token(third)).json() == {"messages": [], "hasMoreData": False}
    assert client.fetch_queue() == []


@holds("smsHistory.message", "smsHistory.location")
def test_a_message_in_history_has_device_ids_content_and_timestamp(client: RawApiClient) -> None:
    client.send_message("T=21.5")
    reply = client.fetch_history()
    (entry,) = reply.json()["messages"]
    assert set(entry) == {"deviceIds", "message", "timestamp"}
    assert entry["deviceIds"] == [
        {"kind": "mdn", "id": "5551230001"},
        {"kind": "iccid", "id": "89148000000000000001"},
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-05:00", entry["timestamp"])
    assert re.fullmatch(rf"/sms/{ACCOUNT}/history\?next=\d+", reply.headers["location"])


@holds("smsHistory.again", "smsHistory.growth")
def test_an_unacknowledged_page_is_returned_again_and_does_not_grow(client: RawApiClient) -> None:
    messages = fill(client, 2)
    first = client.fetch_history()
    client.send_message("later")
    again = client.fetch_history()
    assert parse_messages(first) == parse_messages(again) == messages
    assert (first.status, again.status) == (200, 202)
    assert parse_messages(client.fetch_history(parse_next_token(again))) == ["later"]


@holds("smsHistory.replay")
def test_a_token_returns_the_same_next_page_twice(client: RawApiClient) -> None:
    messages = fill(client, 150)
    token = parse_next_token(client.fetch_history())
    first, second = client.fetch_history(token), client.fetch_history(token)
    assert parse_messages(first) == parse_messages(second) == messages[100:]
    assert first.headers["location"] == second.headers["location"]


@holds("smsHistory.unknownToken")
def test_an_unknown_token_acknowledges_nothing(client: RawApiClient) -> None:
    messages = fill(client, 2)
    client.fetch_history()
    reply = client.fetch_history("12345")
    assert (reply.status, reply.code) == (400, UNKNOWN_TOKEN)
    client.set_switches(unknownPageToken="ignored")
    assert parse_messages(client.fetch_history("12345")) == messages
    assert client.fetch_queue() == messages


@holds("smsHistory.repeatedToken")
def test_a_page_read_again_has_the_same_token_or_a_new_one(client: RawApiClient) -> None:
    fill(client, 1)
    first = parse_next_token(client.fetch_history())
    assert parse_next_token(client.fetch_history()) == first
    client.set_switches(repeatedPageToken="newToken")
    second = parse_next_token(client.fetch_history())
    assert second != first
    assert client.fetch_history(first).code == UNKNOWN_TOKEN


@holds("smsHistory.last")
def test_the_last_page_is_acknowledged_automatically_or_never_when_switched(client: RawApiClient) -> None:
    messages = fill(client, 2)
    client.set_switches(lastPage="never")
    for _ in range(3):
        reply = client.fetch_history()
        assert parse_messages(reply) == messages
        assert "location" not in reply.headers
    client.set_switches(lastPage="auto")
    assert parse_messages(client.fetch_history()) == messages
    assert client.fetch_history().json()["messages"] == []


@holds("smsHistory.empty")
def test_an_empty_history_is_an_object_or_an_empty_body(client: RawApiClient) -> None:
    assert client.fetch_history().json() == {"messages": [], "hasMoreData": False}
    client.set_switches(emptyHistory="zeroLength")
    reply = client.fetch_history()
    assert (reply.status, reply.body) == (200, b"")


@holds("messages.both")
def test_a_drained_message_is_no_longer_in_history(client: RawApiClient, listener: ScriptedListener) -> None:
    fill(client, 2)
    client.fetch_history()
    client.register(listener.url)
    client.start_callbacks()
    listener.wait_for(2)
    client.wait_until_idle()
    assert client.fetch_history().json()["messages"] == []
