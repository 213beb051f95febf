from __future__ import annotations

import time

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, TEXT_SERVICE, RawApiClient
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener, ScriptedResponse


@holds("messages.queued")
def test_a_message_is_queued_without_a_listener(client: RawApiClient) -> None:
    client.send_message("T=21.5")
    assert client.fetch_queue() == ["T=21.5"]


@holds("messages.live", "delivery.transport", "delivery.body")
def test_a_message_is_posted_at_once_in_the_minimal_body(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url, username="plant-a", password="example-only")
    client.send_message("T=21.5")
    assert listener.wait_for(1) == ["T=21.5"]
    assert listener.received[0].body == {
        "username": "plant-a",
        "password": "example-only",
        "deviceIds": [{"id": "5551230001", "kind": "mdn"}, {"id": "89148000000000000001", "kind": "iccid"}],
        "smsMessage": "T=21.5",
    }
    assert listener.received[0].headers["user-agent"] == "Verizon's callback service"
    assert listener.received[0].headers["content-type"] == "application/json"
    assert "authorization" not in listener.received[0].headers
    client.wait_until_idle()
    assert client.fetch_queue() == []


@holds("messages.noDrain")
def test_a_new_registration_does_not_drain_the_queue(client: RawApiClient, listener: ScriptedListener) -> None:
    client.send_message("old")
    client.register(listener.url)
    client.send_message("new")
    assert listener.wait_for(1) == ["new"]
    client.wait_until_idle()
    assert client.fetch_queue() == ["old"]


@holds("startCallbacks.shape", "startCallbacks.drain", "startCallbacks.order")
def test_start_callbacks_drains_the_queue_out_of_order(client: RawApiClient, listener: ScriptedListener) -> None:
    for number in range(1, 7):
        client.send_message(f"t{number}")
    client.register(listener.url)
    assert client.start_callbacks().json() == {"success": True}
    listener.wait_for(6)
    client.wait_until_idle()
    assert sorted(listener.messages) == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert listener.messages != sorted(listener.messages)
    assert client.fetch_queue() == []


@holds("messages.overtake")
def test_a_live_message_overtakes_a_delayed_drain(client: RawApiClient, listener: ScriptedListener) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.send_message("old")
    client.register(listener.url)
    listener.respond_with(503)
    client.start_callbacks()
    listener.wait_for(1)
    client.send_message("new")
    listener.wait_for(2)
    client.advance_clock(2)
    assert listener.wait_for(3) == ["old", "new", "old"]


@holds("startCallbacks.failure")
def test_a_drain_returns_messages_to_the_queue_when_callbacks_fail(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.send_message("queued")
    client.register(listener.url)
    listener.respond_with(503, 503)
    client.start_callbacks()
    listener.wait_for(1)
    client.advance_clock(2)
    client.wait_until_idle()
    assert client.fetch_queue() == ["queued"]


@holds("startCallbacks.noListener")
def test_start_callbacks_without_a_listener_is_accepted_and_changes_nothing(client: RawApiClient) -> None:
    client.send_message("queued")
    assert client.start_callbacks().json() == {"success": True}
    client.wait_until_idle()
    assert client.fetch_queue() == ["queued"]
    assert [call["operation"] for call in client.fetch_journal()["calls"]] == ["token", "login", "startCallbacks"]
    assert client.fetch_journal()["calls"][-1]["accountName"] == ACCOUNT


@holds("startCallbacks.failure")
def test_a_failed_drain_delivery_drops_the_message_when_switched(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.set_switches(failedDrainDelivery="dropped", drainOrder="asQueued")
    for message in ("a", "b", "c"):
        client.send_message(message)
    client.control("POST", "clock", {"frozen": True})
    client.register(listener.url)
    listener.respond_with(503, 503, 503)
    client.start_callbacks()
    listener.wait_for(3)
    listener.respond_with(503)
    client.advance_clock(2)
    client.wait_until_idle()
    assert client.fetch_queue() == []
    assert len(listener.received) == 6


@holds("startCallbacks.spelling")
def test_the_spelling_startcallbacks_is_served(client: RawApiClient) -> None:
    assert client.m2m("PUT", f"/sms/{ACCOUNT}/startcallbacks").json() == {"success": True}


@holds("messages.fallback")
def test_a_message_is_queued_when_its_live_delivery_fails(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url)
    listener.respond_with(500, 500)
    client.send_message("queued")
    listener.wait_for(1)
    client.advance_clock(2)
    client.wait_until_idle()
    assert client.fetch_queue() == ["queued"]


@holds("startCallbacks.deregistered")
def test_the_rest_is_queued_when_the_listener_is_deregistered_during_a_drain(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.send_message("x", repeat=500)
    client.register(listener.url)
    listener.default_response = ScriptedResponse(status=503)
    client.start_callbacks()
    listener.wait_for(32)
    client.m2m("DELETE", f"/callbacks/{ACCOUNT}/name/{TEXT_SERVICE}")
    client.advance_clock(2)
    client.wait_until_idle()
    assert len(client.fetch_queue()) == 500
    assert len(listener.received) == 32


@holds("messages.flood")
def test_a_flood_of_live_messages_is_delivered_by_a_bounded_number_of_connections(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.register(listener.url)
    listener.default_response = ScriptedResponse(hold=True)
    client.send_message("x", repeat=1000)
    listener.wait_for(256, 60)
    time.sleep(0.05)
    assert len(listener.received) == 256
    listener.default_response = ScriptedResponse()
    listener.release()
    listener.wait_for(1000, 60)
    client.wait_until_idle()
    assert client.fetch_queue() == []
