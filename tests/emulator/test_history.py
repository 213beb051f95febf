from __future__ import annotations

import re

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, Caller, messages_of, next_of
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

UNKNOWN_TOKEN = "EnhancedConnectivityService.REQUEST_FAILED.UnexpectedError"


def fill(client: Caller, count: int) -> list[str]:
    texts = [f"t{number:03}" for number in range(count)]
    for text in texts:
        client.text(text)
    return texts


@holds("smsHistory.block", "smsHistory.acknowledge", "smsHistory.final")
def test_the_queue_is_read_in_blocks_of_a_hundred_each_acknowledged_by_its_token(client: Caller) -> None:
    texts = fill(client, 205)
    first = client.history()
    assert (first.status, first.json()["hasMoreData"], messages_of(first)) == (202, True, texts[:100])
    assert len(client.control("GET", f"queue?accountName={ACCOUNT}").json()["messages"]) == 205
    second = client.history(next_of(first))
    assert (second.status, messages_of(second)) == (202, texts[100:200])
    assert len(client.queued()) == 105
    third = client.history(next_of(second))
    assert (third.status, third.json()["hasMoreData"], messages_of(third)) == (200, False, texts[200:])
    assert client.queued() == texts[200:]
    assert client.history(next_of(third)).json() == {"messages": [], "hasMoreData": False}
    assert client.queued() == []


@holds("smsHistory.message", "smsHistory.location")
def test_a_text_in_history_has_devices_message_and_timestamp(client: Caller) -> None:
    client.text("T=21.5")
    reply = client.history()
    (entry,) = reply.json()["messages"]
    assert set(entry) == {"deviceIds", "message", "timestamp"}
    assert entry["deviceIds"] == [
        {"kind": "mdn", "id": "5551230001"},
        {"kind": "iccid", "id": "89148000000000000001"},
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-05:00", entry["timestamp"])
    assert re.fullmatch(rf"/sms/{ACCOUNT}/history\?next=\d+", reply.headers["location"])


@holds("smsHistory.again", "smsHistory.growth")
def test_an_unacknowledged_block_is_shown_again_and_does_not_grow(client: Caller) -> None:
    texts = fill(client, 2)
    first = client.history()
    client.text("later")
    again = client.history()
    assert messages_of(first) == messages_of(again) == texts
    assert (first.status, again.status) == (200, 202)
    assert messages_of(client.history(next_of(again))) == ["later"]


@holds("smsHistory.replay")
def test_a_token_presented_twice_shows_the_same_next_block(client: Caller) -> None:
    texts = fill(client, 150)
    token = next_of(client.history())
    first, second = client.history(token), client.history(token)
    assert messages_of(first) == messages_of(second) == texts[100:]
    assert first.headers["location"] == second.headers["location"]


@holds("smsHistory.stranger")
def test_a_token_nobody_knows_acknowledges_nothing(client: Caller) -> None:
    texts = fill(client, 2)
    client.history()
    reply = client.history("12345")
    assert (reply.status, reply.code) == (400, UNKNOWN_TOKEN)
    client.switch(unknownNext="ignored")
    assert messages_of(client.history("12345")) == texts
    assert client.queued() == texts


@holds("smsHistory.plain")
def test_a_block_shown_again_has_the_same_token_or_a_new_one(client: Caller) -> None:
    fill(client, 1)
    first = next_of(client.history())
    assert next_of(client.history()) == first
    client.switch(plainHistory="newToken")
    second = next_of(client.history())
    assert second != first
    assert client.history(first).code == UNKNOWN_TOKEN


@holds("smsHistory.final")
def test_the_last_block_is_acknowledged_by_itself_or_never_when_switched(client: Caller) -> None:
    texts = fill(client, 2)
    client.switch(finalBlock="never")
    for _ in range(3):
        reply = client.history()
        assert messages_of(reply) == texts
        assert "location" not in reply.headers
    client.switch(finalBlock="auto")
    assert messages_of(client.history()) == texts
    assert client.history().json()["messages"] == []


@holds("smsHistory.empty")
def test_an_empty_history_is_an_object_or_nothing(client: Caller) -> None:
    assert client.history().json() == {"messages": [], "hasMoreData": False}
    client.switch(emptyHistory="zeroLength")
    reply = client.history()
    assert (reply.status, reply.body) == (200, b"")


@holds("texts.both")
def test_a_text_that_was_pushed_is_not_in_the_block_any_more(client: Caller, listener: ScriptedListener) -> None:
    fill(client, 2)
    client.history()
    client.register(listener.url)
    client.start()
    listener.wait_for(2)
    client.settle()
    assert client.history().json()["messages"] == []
