from __future__ import annotations

import itertools
import json
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, Caller
from thingspace_provider.emulator.emulator import Setup
from thingspace_provider.emulator.runtime.server import Running
from thingspace_provider.emulator.testing.scripted_listener import Script, ScriptedListener

PUBLISHED = "3.87.163.45 3.91.119.203 54.197.62.209 35.165.205.14 54.200.43.232 34.216.81.234 137.117.33.109"


@pytest.fixture
def still(client: Caller) -> Caller:
    """A client of an emulator whose clock only moves when told to."""
    assert client.control("POST", "clock", {"frozen": True}).status == 200
    return client


@holds("delivery.acknowledged")
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_acknowledges(client: Caller, listener: ScriptedListener, status: int) -> None:
    client.register(listener.url)
    listener.answer(status)
    client.text("x")
    client.settle()
    assert client.deliveries() == [(1, "delivered")]
    assert client.queued() == []


@holds("delivery.retryObserved")
@pytest.mark.parametrize("status", [302, 400, 403, 500, 503, -1])
def test_observed_a_refusal_is_tried_once_more_after_about_a_second(
    still: Caller, listener: ScriptedListener, status: int
) -> None:
    still.register(listener.url)
    listener.answer(status, status)
    still.text("x")
    listener.wait_for(1)
    still.advance(1.1)
    assert len(listener.received) == 1
    still.advance(0.6)
    assert len(listener.received) == 2
    still.advance(24 * 3600)
    assert len(listener.received) == 2
    assert still.queued() == ["x"]


@holds("delivery.silence")
def test_observed_four_seconds_of_silence_start_a_second_try_beside_the_first(
    still: Caller, listener: ScriptedListener
) -> None:
    still.switch(callbackBody="modern")
    still.register(listener.url)
    listener.scripts.append(Script(hold=True))
    still.text("x")
    listener.wait_for(1)
    still.advance(3.9)
    assert len(listener.received) == 1
    still.advance(0.2)
    assert listener.wait_for(2) == ["x", "x"]
    assert [one.body["callbackCount"] for one in listener.received] == [1, 2]
    assert len({one.body["requestId"] for one in listener.received}) == 1
    listener.release()
    still.settle()
    assert sorted(still.deliveries()) == [(1, "delivered"), (2, "delivered")]
    assert still.queued() == []


@holds("delivery.retryDocumented", "delivery.count")
def test_documented_three_more_tries_come_five_minutes_apart(still: Caller, listener: ScriptedListener) -> None:
    still.switch(retryProfile="documented", callbackBody="modern")
    still.register(listener.url)
    listener.answer(503, 503, 503, 503)
    still.text("x")
    listener.wait_for(1)
    still.advance(299)
    assert len(listener.received) == 1
    still.advance(3600)
    still.settle()
    assert [one.body["callbackCount"] for one in listener.received] == [1, 2, 3, 4]
    assert {one.body["maxCallbackThreshold"] for one in listener.received} == {4}
    moments = [entry["at"] for entry in still.journal()["deliveries"]]
    assert [round(later - earlier) for earlier, later in itertools.pairwise(moments)] == [300, 300, 300]
    assert still.queued() == ["x"]


@holds("delivery.body")
def test_the_modern_body_adds_request_id_and_counts(client: Caller, listener: ScriptedListener) -> None:
    client.switch(callbackBody="modern")
    client.register(listener.url)
    client.text("x")
    listener.wait_for(1)
    body = listener.received[0].body
    assert set(body) == {
        *("username", "password", "requestId", "deviceIds", "smsMessage", "callbackCount", "maxCallbackThreshold")
    }
    assert (body["callbackCount"], body["maxCallbackThreshold"]) == (1, 2)


@holds("delivery.ids")
def test_a_device_is_named_by_two_lower_case_or_six_upper_case_ids(client: Caller, listener: ScriptedListener) -> None:
    client.register(listener.url)
    client.text("x")
    client.settle()
    client.switch(callbackDeviceIds="sixUpperCase")
    client.text("x")
    client.settle()
    kinds = [[one["kind"] for one in received.body["deviceIds"]] for received in listener.received]
    assert kinds == [["mdn", "iccid"], ["MDN", "ICCID", "IMEI", "IMSI", "MSISDN", "MIN"]]


@holds("delivery.escaping")
@pytest.mark.parametrize(
    ("value", "received", "raw"),
    [
        ("off", "a=b&c<d>", "a=b&c<d>"),
        ("single", "a=b&c<d>", "u003d"),
        ("double", r"a\u003db\u0026c\u003cd\u003e", "u003d"),
    ],
)
def test_special_characters_are_escaped_as_switched(
    client: Caller, listener: ScriptedListener, value: str, received: str, raw: str
) -> None:
    client.switch(htmlEscaping=value)
    client.register(listener.url)
    client.text("a=b&c<d>")
    assert listener.wait_for(1) == [received]
    assert (raw in listener.received[0].raw) is True


@holds("delivery.redirect")
def test_a_redirect_is_not_followed(still: Caller, listener: ScriptedListener) -> None:
    still.register(listener.url)
    listener.otherwise = Script(status=307, headers=(("Location", f"{listener.url}/elsewhere"),))
    still.text("x")
    listener.wait_for(1)
    still.advance(10)
    assert {one.path for one in listener.received} == {"/callbacks"}
    assert still.queued() == ["x"]


@holds("delivery.huge")
def test_an_answer_without_end_is_cut_off(client: Caller, listener: ScriptedListener) -> None:
    client.register(listener.url)
    listener.scripts.append(Script(endless=True))
    client.text("x")
    listener.wait_for(1)
    client.settle()
    assert client.deliveries() == [(1, "delivered")]


@holds("delivery.silent")
def test_a_listener_that_never_answers_is_given_up_and_the_text_is_queued(
    still: Caller, listener: ScriptedListener
) -> None:
    still.register(listener.url)
    listener.otherwise = Script(hold=True)
    still.text("x")
    listener.wait_for(1)
    still.advance(60)
    assert still.deliveries() == [(1, "silent"), (2, "silent")]
    assert still.queued() == ["x"]


@holds("delivery.unreachable")
def test_a_listener_that_is_not_there_leaves_the_text_in_the_queue(still: Caller) -> None:
    with ScriptedListener() as gone:
        url = gone.url
    still.register(url)
    still.text("x")
    still.advance(5)
    assert still.deliveries() == [(1, "unreachable"), (2, "unreachable")]
    assert still.queued() == ["x"]


@holds("delivery.source")
def test_the_observed_sender_comes_from_published_addresses_and_retries_from_another(
    still: Caller, listener: ScriptedListener
) -> None:
    still.switch(sourceAddress="published")
    still.register(listener.url)
    listener.answer(503)
    still.text("x")
    listener.wait_for(1)
    still.advance(2)
    first, second = (one.headers["x-forwarded-for"] for one in listener.received)
    assert first != second
    assert {first, second} <= {*PUBLISHED.split(), "168.62.173.153"}


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """An authority's file, and a server context with a certificate of it for hooks.example.net."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.net").configure_cert(context)
    return folder / "ca.pem", context


@holds("delivery.certificate")
def test_an_https_listener_needs_a_certificate_of_a_known_authority(tmp_path: Path) -> None:
    ca, context = certificate(tmp_path)
    with ScriptedListener(context) as listener, Running(Setup()) as stranger, Running(Setup(ca=str(ca))) as knowing:
        for running, outcome in ((stranger, "untrusted"), (knowing, "delivered")):
            client = Caller(running.url).ready()
            client.control("PUT", "resolve", {"hooks.example.net:443": f"127.0.0.1:{listener.port}"})
            assert client.register("https://hooks.example.net/sms").status == 200
            client.text("x", ACCOUNT)
            client.advance(5)
            client.settle()
            assert client.deliveries()[0] == (1, outcome)
        client = Caller(stranger.url).ready()
        client.switch(certificates="unchecked")
        client.start()
        listener.wait_for(2)


@holds("delivery.unicode")
def test_json_bodies_are_utf_8(client: Caller, listener: ScriptedListener) -> None:
    client.register(listener.url)
    client.text("Füllstand 20 % €")
    assert listener.wait_for(1) == ["Füllstand 20 % €"]
    assert json.loads(listener.received[0].raw)["smsMessage"] == "Füllstand 20 % €"
