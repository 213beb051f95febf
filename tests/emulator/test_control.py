from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.raw_api_client import ACCOUNT, OTHER_ACCOUNT, PASSWORD, USERNAME, RawApiClient
from thingspace_provider.emulator.control.access import api_rejection_reason
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.platform.switches import PRESETS, SWITCHES
from thingspace_provider.emulator.runtime.server import EmulatorThread
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

DAY = 24 * 3600


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "messages", {}, "accountName: field required"),
        (
            "POST",
            "messages",
            {"accountName": "a", "message": "x"},
            "no account 'a'; existing accounts: 0000123456-00001",
        ),
        ("POST", "messages", {"accountName": ACCOUNT}, "message: field required"),
        ("POST", "messages", {"accountName": ACCOUNT, "message": 5}, "message: input should be a valid string"),
        (
            "POST",
            "messages",
            {"accountName": ACCOUNT, "message": "x", "mesage": "y"},
            "unknown key mesage; known keys: accountName, message",
        ),
        (
            "POST",
            "messages",
            {"accountName": ACCOUNT, "message": "x", "repeat": 10**9},
            "repeat: input should be less than or equal to 100000",
        ),
        (
            "POST",
            "messages",
            {"accountName": ACCOUNT, "message": "x", "repeat": 1.5},
            "repeat: input should be a valid integer",
        ),
        (
            "POST",
            "messages",
            {"accountName": ACCOUNT, "message": "x", "deviceIds": []},
            "deviceIds: list should have at least 1 item",
        ),
        (
            "POST",
            "messages",
            {"accountName": ACCOUNT, "message": "x", "deviceIds": [{"kind": "fax", "id": "1"}]},
            "deviceIds: The device kind is unknown",
        ),
        ("POST", "messages", [], "input should be an object"),
        ("GET", "queue", None, "accountName: field required"),
        ("POST", "clock", {}, "advanceSeconds or frozen is required"),
        ("POST", "clock", {"advanceSeconds": -1}, "advanceSeconds: input should be greater than or equal to 0"),
        ("POST", "clock", {"advanceSeconds": "1"}, "advanceSeconds: input should be a valid number"),
        ("POST", "clock", {"frozen": 1}, "frozen: input should be a valid boolean"),
        ("PUT", "switches", {"color": "red"}, "unknown switch 'color'; known switches: preset, lastPage"),
        ("PUT", "switches", {"expiresIn": "sometimes"}, "valid values: countsDown, constant"),
        ("PUT", "switches", {"preset": "imagined"}, "known presets: documented, observed"),
        ("PUT", "switches", {"preset": ["observed"]}, "known presets: documented, observed"),
        ("PUT", "switches", [], "input should be an object"),
        ("PUT", "state", {}, "version: field required"),
        ("PUT", "state", {"version": 1}, "requestIdNamespace: field required"),
        ("POST", "users/unlock", {"username": "unknown"}, "there is no user 'unknown'"),
        ("POST", "users/unlock", {"username": []}, "username: input should be a valid string"),
        ("POST", "accounts", {"accountName": ACCOUNT}, "there is an account"),
        ("POST", "accounts", {"accountName": ""}, "accountName: string should have at least 1 character"),
        ("POST", "accounts", {"accountName": "a", "username": "unknown"}, "there is no user"),
        ("POST", "devices", {"accountName": ACCOUNT, "active": "yes"}, "active: input should be a valid boolean"),
        (
            "POST",
            "devices",
            {"accountName": ACCOUNT, "customFields": {"a": 1}},
            "customFields.a: input should be a valid string",
        ),
        ("POST", "archive/resend", {}, "requestId: field required"),
        ("GET", "idle?timeoutSeconds=soon", None, "timeoutSeconds: input should be a valid number"),
        ("PUT", "resolve", {"h": "example.net:80"}, "127.0.0.1:8443"),
        ("PUT", "resolve", [], "input should be an object"),
    ],
)
def test_an_invalid_request_gets_400_with_the_reason_and_changes_nothing(
    caller: RawApiClient, method: str, path: str, body: Any, words: str
) -> None:
    before = caller.control("GET", "state").json()
    reply = caller.control(method, path, body)
    assert reply.status == 400, reply.body
    assert words in reply.json()["error"]
    assert caller.control("GET", "state").json() == before


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"NaN", b'"\\ud800"', b"[" * 100_000, b"x" * 2_000_000])
def test_a_body_that_is_not_json_gets_400(caller: RawApiClient, body: bytes) -> None:
    for method, path in (("POST", "messages"), ("POST", "faults"), ("PUT", "switches"), ("PUT", "state")):
        reply = caller.send(method, f"/_emulator/{path}", body, root=True)
        assert reply.status == 400
        assert reply.json()["error"]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Host": "localhost:80"}, True),
        ({"Host": "[::1]"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "["}, False),
        ({"Host": ""}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"X-Forwarded-For": "192.0.2.1"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
    ],
)
def test_a_request_from_a_page_of_another_origin_is_rejected(
    caller: RawApiClient, headers: dict[str, str], *, allowed: bool
) -> None:
    for path in ("/_emulator/journal", "/_emulator/state", "/_emulator/nothing"):
        reply = caller.send("GET", path, None, headers, root=True)
        assert (reply.status != 403) is allowed
        assert "access-control-allow-origin" not in reply.headers
    reply = caller.send("POST", "/_emulator/reset", b"", headers, root=True)
    assert (reply.status == 200) is allowed
    caller.log_in()
    tokens = {"Authorization": f"Bearer {caller.access_token}", "VZ-M2M-Token": str(caller.session)}
    reply = caller.send("GET", f"/m2m/v1/callbacks/{ACCOUNT}", None, {**headers, **tokens})
    assert (reply.status == 200) is allowed
    if not allowed:
        assert reply.json()["error"]
        assert caller.fetch_journal()["calls"][-1]["operation"] == "login"


@pytest.mark.parametrize(
    ("client", "host", "allowed"),
    [
        ("127.0.0.1", "emulator.test:8700", True),
        ("127.0.0.1", "Emulator.Test", True),
        ("127.0.0.1", "other.test", False),
        ("::1", "other.test", False),
        ("192.0.2.1", "other.test", True),
    ],
)
def test_the_api_accepts_the_configured_host_name_and_from_other_machines_every_one(
    client: str, host: str, *, allowed: bool
) -> None:
    scope = {"client": (client, 1), "headers": [(b"host", host.encode())]}
    assert (api_rejection_reason(scope, "Emulator.test") is None) is allowed


def test_a_form_of_another_page_is_rejected(caller: RawApiClient) -> None:
    body = json.dumps({"accountName": ACCOUNT, "message": "x"}).encode()
    reply = caller.send("POST", "/_emulator/messages", body, {"Content-Type": "text/plain"}, root=True)
    assert reply.status == 400
    assert caller.fetch_queue() == []


def test_the_journal_has_every_call_with_its_outcome_and_no_secret(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.register(listener.url, username="plant-a", password="listener-secret")
    client.login(password="wrong-secret")
    client.send_message("x")
    client.wait_until_idle()
    client.m2m("GET", f"/callbacks/{ACCOUNT}")
    journal = client.fetch_journal()
    assert [(call["operation"], call["status"]) for call in journal["calls"]] == [
        ("token", 200),
        ("login", 200),
        ("registerCallback", 200),
        ("login", 400),
        ("listCallbacks", 200),
    ]
    assert journal["calls"][2]["accountName"] == ACCOUNT
    assert journal["calls"][2]["username"] == USERNAME
    assert {"operation": "login", "status": 400, "count": 1} in journal["counts"]
    assert journal["deliveries"][0]["outcome"] == "delivered"
    assert journal["deliveries"][0]["status"] == 200
    output = json.dumps(journal) + json.dumps(client.control("GET", "accounts").json())
    for secret in (
        "listener-secret",
        "wrong-secret",
        PASSWORD,
        "emulator-app-secret",
        client.access_token,
        client.session,
    ):
        assert str(secret) not in output
    assert [c["operation"] for c in client.control("GET", "journal?operation=login").json()["calls"]] == ["login"] * 2
    assert client.control("GET", f"journal?accountName={OTHER_ACCOUNT}").json()["calls"] == []


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://h.example:443/callbacks/0000123456-00001", "https://h.example:443/callbacks/0000123456-00001"),
        ("https://h/callbacks/q3Zk0pW8vJr2LxT5mNa7/0000123456-00001", "https://h/callbacks/***/0000123456-00001"),
        ("https://h/callbacks/tokenWithoutAnyDigitInIt/0000123456-00001", "https://h/callbacks/***/0000123456-00001"),
        ("https://h/callbacks/a.b~c.d~e.f~g.h~/0000123456-00001", "https://h/callbacks/***/0000123456-00001"),
        ("https://user:word@h/x?key=word#y", "https://***@h/x?***"),
    ],
)
def test_a_listener_url_is_masked(client: RawApiClient, url: str, masked: str) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.control("PUT", "resolve", {"h:443": "127.0.0.1:9", "h.example:443": "127.0.0.1:9"})
    client.register(url)
    client.send_message("x")
    client.advance_clock(5)
    assert {entry["url"] for entry in client.fetch_journal()["deliveries"]} == {masked}
    assert client.control("GET", "accounts").json()["accounts"][0]["listeners"][0]["url"] == masked
    assert client.m2m("GET", f"/callbacks/{ACCOUNT}").json()[0]["url"] == url


def test_every_switch_can_be_set_to_each_of_its_values(caller: RawApiClient) -> None:
    assert len({switch.name for switch in SWITCHES}) == len(SWITCHES)
    for switch in SWITCHES:
        for value in switch.choices:
            caller.set_switches(**{switch.name: value})
            assert caller.control("GET", "switches").json()[switch.name] == value


def test_a_preset_sets_several_switches_and_single_ones_take_precedence(caller: RawApiClient) -> None:
    caller.set_switches(retryProfile="observed", preset="documented")
    now = caller.control("GET", "switches").json()
    assert now["retryProfile"] == "observed"
    caller.set_switches(preset="observed")
    assert PRESETS["observed"].items() <= caller.control("GET", "switches").json().items()


def test_a_reset_restores_the_start(client: RawApiClient, listener: ScriptedListener) -> None:
    before = client.control("GET", "switches").json()
    state = client.control("GET", "state").json()
    client.register(listener.url)
    client.send_message("x")
    client.set_switches(expiresIn="constant")
    client.control("POST", "faults", {"operation": "token", "hang": "before"})
    client.control("POST", "accounts", {"accountName": "new"})
    client.control("POST", "clock", {"advanceSeconds": DAY, "frozen": True})
    client.control("PUT", "resolve", {"h:443": "127.0.0.1:1"})
    assert client.control("POST", "reset").status == 200
    after = client.control("GET", "state").json()
    assert after == {**state, "sessions": {}, "tokens": {}}
    assert client.control("GET", "switches").json() == before
    assert client.control("GET", "faults").json() == {"faults": []}
    assert client.control("GET", "resolve").json() == {}
    clock = client.control("GET", "clock").json()
    assert clock["frozen"] is False
    assert abs(clock["seconds"] - time.time()) < 5
    assert client.fetch_journal()["calls"] == []


def test_an_exported_state_can_be_imported_by_another_emulator(client: RawApiClient) -> None:
    device = [{"kind": "imei", "id": "990000000000001"}]
    client.send_message("first", deviceIds=device)
    client.send_message("second")
    client.register("https://hooks.example.net/sms", password="example-only")
    client.m2m("POST", "/sms", {"accountName": ACCOUNT, "deviceIds": device, "smsMessage": "hello"})
    token = client.fetch_history().headers["location"].partition("=")[2]
    state = client.control("GET", "state").json()
    with EmulatorThread(EmulatorConfig()) as other:
        moved = RawApiClient(other.url, client.access_token, client.session)
        assert moved.control("PUT", "state", state).status == 200
        assert moved.control("GET", "state").json() == state
        assert moved.fetch_queue() == ["first", "second"]
        assert set(state["accounts"][ACCOUNT]).isdisjoint({"inFlight", "byId", "in_flight", "by_id"})
        assert moved.m2m("GET", f"/callbacks/{ACCOUNT}").json()[0]["password"] == "example-only"
        assert moved.fetch_history(token).json()["messages"] == []
        moved.advance_clock(10)
        assert moved.control("GET", "outbound-messages").json()["outboundMessages"][0]["state"] == "delivered"
    assert client.fetch_queue() == ["first", "second"]


def mangle_state(state: Any, path: list[Any], value: Any) -> Any:
    copy = json.loads(json.dumps(state))
    container = copy
    for step in path[:-1]:
        container = container[step]
    container[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["version"], 2),
        (["users"], []),
        (["users", USERNAME, "password"], 5),
        (["users", USERNAME, "accounts"], "all"),
        (["users", USERNAME, "color"], "red"),
        (["accounts", ACCOUNT, "queue"], ["x"]),
        (["accounts", ACCOUNT, "devices"], [{"ids": "x"}]),
        (["accounts", ACCOUNT, "devices"], [{"ids": {"mdn": 5}}]),
        (["accounts", ACCOUNT, "historyPage"], {"token": 1, "numbers": []}),
        (["accounts", ACCOUNT, "acknowledgedToken"], 5),
        (["outboundMessages"], [{}]),
        (
            ["outboundMessages"],
            [{"requestId": "r", "account": "a", "ids": {"mdn": "1"}, "text": "", "accepted": 0, "expires": 0}],
        ),
        (["archive"], [{"requestId": "r", "account": "a", "service": "s", "body": {}, "archived": 0}]),
        (["sessions"], {"x": {"username": "unknown", "used": 0}}),
        (["users", USERNAME, "accounts"], ["nowhere"]),
        (["users"], {}),
        (["accounts", ACCOUNT, "devices"], [{"ids": {}}]),
        (["accounts", ACCOUNT, "byId"], {}),
        (["accounts", ACCOUNT, "queue"], {"x": {"number": 1, "ids": {"mdn": "1"}, "text": "x", "received": 0}}),
        (["accounts", ACCOUNT, "queue"], {"1": {"number": 1, "ids": {"mdn": 5}, "text": "x", "received": 0}}),
        (["accounts", ACCOUNT, "queue"], {"1": {"number": 1, "ids": {}, "text": "x", "received": 0}}),
        (["accounts", ACCOUNT, "queue"], {"1": {"number": 1, "ids": {"mdn": "1"}, "text": "x", "received": 1e20}}),
        (["tokens"], {"x": {"value": "v", "issued": "now"}}),
        (["requestIdNamespace"], "not-a-guid"),
    ],
)
def test_an_invalid_state_is_rejected_and_changes_nothing(caller: RawApiClient, path: list[Any], value: Any) -> None:
    state = caller.control("GET", "state").json()
    reply = caller.control("PUT", "state", mangle_state(state, path, value))
    assert reply.status == 400, reply.body
    assert reply.json()["error"]
    assert caller.control("GET", "state").json() == state


def test_a_month_passes_in_an_instant(caller: RawApiClient) -> None:
    began = time.monotonic()
    before = caller.control("GET", "clock").json()["seconds"]
    for seconds in (3600, 5 * DAY, 30 * DAY):
        caller.advance_clock(seconds)
    after = caller.control("GET", "clock").json()["seconds"]
    assert 0 <= after - before - 35 * DAY - 3600 < 5
    assert time.monotonic() - began < 30


def test_a_frozen_clock_stands_still(caller: RawApiClient) -> None:
    caller.control("POST", "clock", {"frozen": True})
    first = caller.control("GET", "clock").json()
    time.sleep(0.01)
    assert caller.control("GET", "clock").json() == first
    caller.control("POST", "clock", {"frozen": False})
    time.sleep(0.01)
    assert caller.control("GET", "clock").json()["seconds"] > first["seconds"]


def test_a_new_account_has_a_device_and_belongs_to_the_user(client: RawApiClient) -> None:
    reply = client.control("POST", "accounts", {"accountName": "0000555555-00001", "username": USERNAME})
    assert (reply.status, reply.json()["devices"]) == (201, 1)
    client.send_message("x", "0000555555-00001")
    assert client.fetch_history(account="0000555555-00001").json()["messages"][0]["message"] == "x"
    devices = client.control("GET", "devices?accountName=0000555555-00001").json()["devices"]
    assert len(devices) == 1


def test_two_emulators_share_nothing_and_leave_no_thread_and_no_socket() -> None:
    threads = set(threading.enumerate())
    with EmulatorThread(EmulatorConfig()) as first, EmulatorThread(EmulatorConfig()) as second:
        client, other = RawApiClient(first.url).log_in(), RawApiClient(second.url)
        client.send_message("x")
        other.access_token, other.session = client.access_token, client.session
        assert other.fetch_history().code == "900901"
        assert other.log_in().fetch_history().json()["messages"] == []
        assert client.fetch_journal()["calls"] != other.fetch_journal()["calls"]
        ports = [urlsplit(running.url).port or 0 for running in (first, second)]
    assert set(threading.enumerate()) == threads
    for port in ports:
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.1", port))


def test_an_emulator_stops_promptly_while_calls_hang_and_listeners_are_silent() -> None:
    with (
        ScriptedListener() as listener,
        EmulatorThread(EmulatorConfig(switches={"registrationPorts": "any"}), grace_seconds=30) as running,
    ):
        client = RawApiClient(running.url).log_in()
        client.register(listener.url)
        listener.default_response.hold = True
        client.send_message("x")
        listener.wait_for(1)
        client.control("POST", "faults", {"operation": "startCallbacks", "hang": "before"})
        client.timeout = 0.2
        with pytest.raises(TimeoutError):
            client.start_callbacks()
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 10  # it would take 30 s to wait for the clients


def test_a_dropped_listener_gets_no_messages_until_it_is_restored(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.register(listener.url, password="listener-secret")
    summary = client.control("POST", "listeners/drop", {"accountName": ACCOUNT}).json()
    assert (summary["listeners"], summary["droppedListeners"]) == ([], ["EnhancedConnectivityService"])
    client.send_message("meanwhile")
    assert client.fetch_queue() == ["meanwhile"]
    assert client.control("POST", "listeners/drop", {"accountName": ACCOUNT}).status == 400
    restored = client.control("POST", "listeners/restore", {"accountName": ACCOUNT}).json()
    assert (len(restored["listeners"]), restored["droppedListeners"]) == (1, [])
    client.send_message("afterwards")
    assert listener.wait_for(1) == ["afterwards"]
    assert listener.received[0].body["password"] == "listener-secret"
    assert client.control("POST", "listeners/restore", {"accountName": ACCOUNT}).status == 400


def test_a_locked_user_cannot_log_in_until_it_is_unlocked(caller: RawApiClient) -> None:
    caller.access_token = caller.request_token().json()["access_token"]
    assert caller.control("POST", "users/lock", {"username": USERNAME}).json() == {
        "username": USERNAME,
        "failedLogins": 5,
        "locked": True,
    }
    assert caller.login().code.endswith("UserLocked")
    caller.control("POST", "users/unlock", {"username": USERNAME})
    assert caller.login().status == 200


def test_an_emptied_queue_is_delivered_to_no_client(client: RawApiClient) -> None:
    client.send_message("x", repeat=3)
    assert client.control("DELETE", f"queue?accountName={ACCOUNT}").json() == {"count": 3}
    assert client.fetch_history().json()["messages"] == []


def test_events_are_the_newest_calls_and_deliveries_in_their_order(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.register(listener.url)
    client.send_message("x")
    client.wait_until_idle()
    client.start_callbacks()
    everything = client.control("GET", "events").json()
    kinds = [(event["kind"], event.get("operation", event.get("smsMessage"))) for event in everything["events"]]
    assert kinds[-3:] == [("call", "registerCallback"), ("delivery", "x"), ("call", "startCallbacks")]
    ids = [event["id"] for event in everything["events"]]
    assert ids == sorted(ids)
    assert everything["lastId"] == ids[-1]
    assert [event["id"] for event in client.control("GET", "events?limit=2").json()["events"]] == ids[-2:]
    assert [event["id"] for event in client.control("GET", f"events?after={ids[-2]}").json()["events"]] == ids[-1:]
    client.control("DELETE", "journal")
    assert client.control("GET", "events").json() == {"events": [], "lastId": ids[-1], "clearedId": ids[-1]}


def test_times_are_in_utc_on_the_virtual_clock() -> None:
    with EmulatorThread(EmulatorConfig(start=1_772_353_000.25, frozen=True)) as running:
        client = RawApiClient(running.url).log_in()
        client.send_message("x")
        time_of_all = "2026-03-01T08:16:40.250Z"
        assert client.control("GET", "clock").json()["now"] == time_of_all
        assert client.control("GET", f"queue?accountName={ACCOUNT}").json()["messages"][0]["receivedAt"] == time_of_all
        assert {event["at"] for event in client.control("GET", "events").json()["events"]} == {time_of_all}
        summary = client.control("GET", "summary").json()
        assert (summary["clock"]["now"], summary["accounts"][0]["queued"]) == (time_of_all, 1)
