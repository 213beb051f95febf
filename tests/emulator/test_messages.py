from __future__ import annotations

import time

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, TEXTS, Caller
from thingspace_provider.emulator.testing.scripted_listener import Script, ScriptedListener


@holds("texts.queued")
def test_a_text_without_a_listener_is_queued(client: Caller) -> None:
    client.text("T=21.5")
    assert client.queued() == ["T=21.5"]


@holds("texts.live", "delivery.transport", "delivery.body")
def test_a_text_goes_to_the_listener_at_once_in_the_minimal_body(client: Caller, listener: ScriptedListener) -> None:
    client.register(listener.url, username="plant-a", password="example-only")
    client.text("T=21.5")
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
    client.settle()
    assert client.queued() == []


@holds("texts.noDrain")
def test_a_listener_that_returns_does_not_drain_the_queue(client: Caller, listener: ScriptedListener) -> None:
    client.text("old")
    client.register(listener.url)
    client.text("new")
    assert listener.wait_for(1) == ["new"]
    client.settle()
    assert client.queued() == ["old"]


@holds("startCallbacks.shape", "startCallbacks.drain", "startCallbacks.order")
def test_start_callbacks_drains_out_of_order_after_its_answer(client: Caller, listener: ScriptedListener) -> None:
    for number in range(1, 7):
        client.text(f"t{number}")
    client.register(listener.url)
    assert client.start().json() == {"success": True}
    listener.wait_for(6)
    client.settle()
    assert sorted(listener.texts) == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert listener.texts != sorted(listener.texts)
    assert client.queued() == []


@holds("texts.overtake")
def test_a_live_text_overtakes_a_drain_that_waits(client: Caller, listener: ScriptedListener) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.text("old")
    client.register(listener.url)
    listener.answer(503)
    client.start()
    listener.wait_for(1)
    client.text("new")
    listener.wait_for(2)
    client.advance(2)
    assert listener.wait_for(3) == ["old", "new", "old"]


@holds("startCallbacks.failure")
def test_a_drain_whose_callbacks_fail_returns_the_texts_to_the_queue(
    client: Caller, listener: ScriptedListener
) -> None:
    client.text("kept")
    client.register(listener.url)
    listener.answer(503, 503)
    client.start()
    listener.wait_for(1)
    client.advance(2)
    client.settle()
    assert client.queued() == ["kept"]


@holds("startCallbacks.noListener")
def test_start_callbacks_without_a_listener_is_accepted_and_changes_nothing(client: Caller) -> None:
    client.text("kept")
    assert client.start().json() == {"success": True}
    client.settle()
    assert client.queued() == ["kept"]
    assert [call["operation"] for call in client.journal()["calls"]] == ["token", "login", "startCallbacks"]
    assert client.journal()["calls"][-1]["accountName"] == ACCOUNT


@holds("startCallbacks.failure")
def test_a_failed_push_loses_the_text_when_switched(client: Caller, listener: ScriptedListener) -> None:
    client.switch(failedDrain="lost", drainOrder="asQueued")
    for text in ("a", "b", "c"):
        client.text(text)
    client.control("POST", "clock", {"frozen": True})
    client.register(listener.url)
    listener.answer(503, 503, 503)
    client.start()
    listener.wait_for(3)
    listener.answer(503)
    client.advance(2)
    client.settle()
    assert client.queued() == []
    assert len(listener.received) == 6


@holds("startCallbacks.spelling")
def test_the_spelling_of_the_prose_is_served(client: Caller) -> None:
    assert client.m2m("PUT", f"/sms/{ACCOUNT}/startcallbacks").json() == {"success": True}


@holds("texts.fallback")
def test_a_text_whose_live_delivery_fails_is_queued(client: Caller, listener: ScriptedListener) -> None:
    client.register(listener.url)
    listener.answer(500, 500)
    client.text("kept")
    listener.wait_for(1)
    client.advance(2)
    client.settle()
    assert client.queued() == ["kept"]


@holds("startCallbacks.deregistered")
def test_a_listener_deregistered_during_a_drain_leaves_the_rest_in_the_queue(
    client: Caller, listener: ScriptedListener
) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.text("x", repeat=500)
    client.register(listener.url)
    listener.otherwise = Script(status=503)
    client.start()
    listener.wait_for(32)
    client.m2m("DELETE", f"/callbacks/{ACCOUNT}/name/{TEXTS}")
    client.advance(2)
    client.settle()
    assert len(client.queued()) == 500
    assert len(listener.received) == 32


@holds("texts.flood")
def test_a_flood_of_live_texts_is_delivered_by_a_bounded_number_of_connections(
    client: Caller, listener: ScriptedListener
) -> None:
    client.control("POST", "clock", {"frozen": True})
    client.register(listener.url)
    listener.otherwise = Script(hold=True)
    client.text("x", repeat=1000)
    listener.wait_for(256, 60)
    time.sleep(0.05)
    assert len(listener.received) == 256
    listener.otherwise = Script()
    listener.release()
    listener.wait_for(1000, 60)
    client.settle()
    assert client.queued() == []
