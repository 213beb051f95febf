from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.raw_api_client import ACCOUNT, OTHER_ACCOUNT, RawApiClient, parse_messages, parse_next_token
from tests.support.waiting import wait_until
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

DROPPED = (http.client.RemoteDisconnected, ConnectionError)


def add_fault(client: RawApiClient, **rule: Any) -> int:
    reply = client.control("POST", "faults", rule)
    assert reply.status == 201, reply.body
    return int(reply.json()["id"])


def count_hits(client: RawApiClient) -> list[tuple[int, int]]:
    return [(rule["hits"], rule["remaining"]) for rule in client.control("GET", "faults").json()["faults"]]


def run_in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except (OSError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def test_a_response_replaces_those_of_the_given_number_of_calls(client: RawApiClient) -> None:
    add_fault(
        client,
        operation="startCallbacks",
        response={"status": 503, "headers": {"Retry-After": "7"}, "body": "no"},
        times=2,
    )
    replies = [client.start_callbacks() for _ in range(3)]
    assert [reply.status for reply in replies] == [503, 503, 200]
    assert (replies[0].headers["retry-after"], replies[0].body) == ("7", b"no")
    assert count_hits(client) == [(2, 0)]
    assert [call["fault"] for call in client.fetch_journal()["calls"]][-3:] == [1, 1, None]


def test_a_fault_hits_only_matching_calls(client: RawApiClient) -> None:
    add_fault(client, operation="startCallbacks", match={"accountName": OTHER_ACCOUNT}, response={"status": 500})
    assert client.start_callbacks().status == 200
    assert client.start_callbacks(OTHER_ACCOUNT).status == 500
    assert count_hits(client) == [(1, 0)]


def test_a_fault_skips_the_first_calls(client: RawApiClient) -> None:
    add_fault(client, operation="startCallbacks", skip=2, response={"status": 500})
    assert [client.start_callbacks().status for _ in range(4)] == [200, 200, 500, 200]


@pytest.mark.parametrize(
    ("response", "status", "start"),
    [
        ({"format": "gateway", "code": "900901"}, 401, b'{"fault":{"code":"900901"'),
        (
            {"format": "m2m", "code": "REQUEST_FAILED.SessionToken.Expired"},
            400,
            b'{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"',
        ),
        ({"format": "oauth", "code": "invalid_client"}, 401, b'{"error_description":'),
        ({"format": "xml", "status": 403}, 403, b"<am:fault"),
        ({"format": "xml", "status": 404}, 404, b"<am:fault"),
    ],
)
def test_a_fault_responds_in_each_format(
    client: RawApiClient, response: dict[str, Any], status: int, start: bytes
) -> None:
    add_fault(client, operation="startCallbacks", response=response)
    reply = client.start_callbacks()
    assert reply.status == status
    assert reply.body.startswith(start)


def test_a_call_has_an_effect_only_when_the_response_is_after_it(client: RawApiClient) -> None:
    add_fault(client, operation="registerCallback", response={"status": 503})
    add_fault(client, operation="registerCallback", response={"status": 503, "afterEffect": True})
    assert client.register("https://hooks.example.net/1").status == 503
    assert client.m2m("GET", f"/callbacks/{ACCOUNT}").body == b""
    assert client.register("https://hooks.example.net/2").status == 503
    assert len(client.m2m("GET", f"/callbacks/{ACCOUNT}").json()) == 1


@pytest.mark.parametrize(("moment", "listed"), [("before", 0), ("after", 1)])
def test_a_connection_is_dropped_before_or_after_the_call_has_its_effect(
    client: RawApiClient, caplog: pytest.LogCaptureFixture, moment: str, listed: int
) -> None:
    add_fault(client, operation="registerCallback", drop=moment)
    with pytest.raises(DROPPED):
        client.register("https://hooks.example.net/")
    assert (
        client.control("GET", "accounts").json()["accounts"][0]["listeners"]
        == [
            {"serviceName": "EnhancedConnectivityService", "url": "https://hooks.example.net/", "username": None}
            | {"password": None}
        ]
        * listed
    )
    assert caplog.messages == []  # the server logs no error


def test_a_truncated_response_is_incomplete(client: RawApiClient) -> None:
    add_fault(client, operation="startCallbacks", truncateBytes=5)
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.start_callbacks()
    assert caught.value.partial == b'{"suc'


@pytest.mark.parametrize(("moment", "queued"), [("before", 1), ("after", 0)])
def test_a_hanging_call_gets_no_response(client: RawApiClient, moment: str, queued: int) -> None:
    client.send_message("x")
    client.set_switches(lastPage="auto")
    add_fault(client, operation="smsHistory", hang=moment)
    client.timeout = 0.3
    with pytest.raises(TimeoutError):
        client.fetch_history()
    client.timeout = 30
    wait_until(lambda: count_hits(client)[0][0], 60, "the fault hits a call")
    assert len(client.fetch_queue()) == queued


def test_a_reset_closes_the_connection_of_a_hanging_call(client: RawApiClient) -> None:
    add_fault(client, operation="startCallbacks", hang="before")
    thread, outcome = run_in_background(client.start_callbacks)
    wait_until(lambda: count_hits(client)[0][0], 60, "the fault hits a call")
    client.control("POST", "reset")
    thread.join(60)
    assert isinstance(outcome[0], DROPPED)


def test_a_delay_passes_in_virtual_time(client: RawApiClient) -> None:
    client.control("POST", "clock", {"frozen": True})
    add_fault(client, operation="startCallbacks", delaySeconds=3600)
    thread, outcome = run_in_background(client.start_callbacks)
    wait_until(lambda: count_hits(client)[0][0], 60, "the fault hits a call")
    client.advance_clock(3599)
    assert outcome == []
    client.advance_clock(2)
    thread.join(60)
    assert outcome[0].code == "900901"  # the access token has expired as well


def test_a_repeated_token_returns_the_next_page_when_its_response_was_lost(client: RawApiClient) -> None:
    for number in range(150):
        client.send_message(str(number))
    token = parse_next_token(client.fetch_history())
    add_fault(client, operation="smsHistory", match={"next": token}, drop="after")
    with pytest.raises(DROPPED):
        client.fetch_history(token)
    assert len(client.fetch_queue()) == 50
    assert parse_messages(client.fetch_history(token)) == [str(number) for number in range(100, 150)]


def test_a_valid_session_can_be_rejected_with_401(client: RawApiClient) -> None:
    add_fault(client, operation="startCallbacks", response={"status": 401, "body": {}})
    assert client.start_callbacks().status == 401


def test_a_delivery_can_be_duplicated(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url)
    add_fault(client, operation="delivery", duplicate=2)
    client.send_message("x")
    assert listener.wait_for(3) == ["x", "x", "x"]


def test_a_delayed_delivery_is_overtaken_by_a_later_one(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url)
    add_fault(client, operation="delivery", delaySeconds=60)
    client.send_message("first")
    client.send_message("second")
    listener.wait_for(1)
    client.advance_clock(61)
    assert listener.wait_for(2) == ["second", "first"]


@pytest.mark.parametrize(("moment", "received"), [("before", 0), ("after", 1)])
def test_a_delivery_can_be_dropped_before_or_after_the_listener_receives_it(
    client: RawApiClient, listener: ScriptedListener, moment: str, received: int
) -> None:
    client.register(listener.url)
    add_fault(client, operation="delivery", match={"accountName": ACCOUNT}, drop=moment)
    client.send_message("x")
    client.wait_until_idle()
    assert len(listener.received) == received
    assert client.fetch_queue() == ["x"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "operation: field required"),
        ([], "input should be an object"),
        ({"operation": "startCallback", "hang": "before"}, "operation: input should be 'token', 'revoke'"),
        ({"operation": "token"}, "exactly one action"),
        ({"operation": "token", "hang": "before", "delaySeconds": 1}, "exactly one action"),
        ({"operation": "token", "explode": True}, "unknown key explode; known keys: operation, match"),
        ({"operation": "token", "hang": "soon"}, "hang: input should be 'before' or 'after'"),
        ({"operation": "token", "drop": False}, "drop: input should be 'before' or 'after'"),
        ({"operation": "token", "delaySeconds": -1}, "delaySeconds: input should be greater than 0"),
        ({"operation": "token", "delaySeconds": "1"}, "delaySeconds: input should be a valid number"),
        ({"operation": "token", "hang": "before", "times": 0}, "times: input should be greater than or equal to 1"),
        (
            {"operation": "token", "hang": "before", "match": {"color": "red"}},
            "match.color: input should be 'accountName'",
        ),
        (
            {"operation": "token", "hang": "before", "match": {"accountName": 5}},
            "match.accountName: input should be a valid string",
        ),
        (
            {"operation": "token", "response": {"status": 99}},
            "response.status: input should be greater than or equal to 200",
        ),
        ({"operation": "token", "response": {}}, "response: a response needs a status or a format"),
        (
            {"operation": "token", "response": {"format": "soap"}},
            "response.format: input should be 'gateway', 'm2m', 'oauth' or 'xml'",
        ),
        ({"operation": "token", "response": {"format": "gateway", "code": "1"}}, "the codes 900901, 900902, 900906"),
        (
            {"operation": "token", "response": {"status": 200, "headers": {"A": "b\r\nC: d"}}},
            "response.headers.A: string should match",
        ),
        ({"operation": "token", "duplicate": 1}, "only the operation delivery"),
        ({"operation": "delivery", "truncateBytes": 1}, "has the actions delaySeconds, drop, duplicate"),
        ({"operation": "delivery", "duplicate": 101}, "duplicate: input should be less than or equal to 100"),
    ],
)
def test_an_invalid_fault_is_rejected_with_the_reason(caller: RawApiClient, rule: Any, words: str) -> None:
    reply = caller.control("POST", "faults", rule)
    assert reply.status == 400
    assert words in reply.json()["error"]
    assert count_hits(caller) == []


def test_faults_are_removed_one_by_one_or_all_at_once(client: RawApiClient) -> None:
    first = add_fault(client, operation="startCallbacks", response={"status": 500})
    add_fault(client, operation="token", response={"status": 500})
    assert client.control("DELETE", f"faults/{first}").status == 200
    assert client.control("DELETE", f"faults/{first}").status == 400
    assert client.start_callbacks().status == 200
    assert client.control("DELETE", "faults").status == 200
    assert count_hits(client) == []
