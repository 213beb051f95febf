from __future__ import annotations

import itertools
import json
import ssl
from datetime import datetime
from pathlib import Path

import pytest
import trustme

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, RawApiClient
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.runtime.server import EmulatorThread
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener, ScriptedResponse

PUBLISHED = "3.87.163.45 3.91.119.203 54.197.62.209 35.165.205.14 54.200.43.232 34.216.81.234 137.117.33.109"


@pytest.fixture
def frozen_clock(client: RawApiClient) -> RawApiClient:
    """Client of an emulator with a frozen clock."""
    assert client.control("POST", "clock", {"frozen": True}).status == 200
    return client


@holds("delivery.acknowledged")
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_acknowledges(client: RawApiClient, listener: ScriptedListener, status: int) -> None:
    client.register(listener.url)
    listener.respond_with(status)
    client.send_message("x")
    client.wait_until_idle()
    assert client.fetch_deliveries() == [(1, "delivered")]
    assert client.fetch_queue() == []


@holds("delivery.retryObserved")
@pytest.mark.parametrize("status", [302, 400, 403, 500, 503, -1])
def test_observed_a_rejection_is_retried_once_after_about_a_second(
    frozen_clock: RawApiClient, listener: ScriptedListener, status: int
) -> None:
    frozen_clock.register(listener.url)
    listener.respond_with(status, status)
    frozen_clock.send_message("x")
    listener.wait_for(1)
    frozen_clock.advance_clock(1.1)
    assert len(listener.received) == 1
    frozen_clock.advance_clock(0.6)
    assert len(listener.received) == 2
    frozen_clock.advance_clock(24 * 3600)
    assert len(listener.received) == 2
    assert frozen_clock.fetch_queue() == ["x"]


@holds("delivery.hedge")
def test_observed_four_seconds_of_silence_start_a_second_attempt_parallel_to_the_first(
    frozen_clock: RawApiClient, listener: ScriptedListener
) -> None:
    frozen_clock.set_switches(callbackBody="modern")
    frozen_clock.register(listener.url)
    listener.responses.append(ScriptedResponse(hold=True))
    frozen_clock.send_message("x")
    listener.wait_for(1)
    frozen_clock.advance_clock(3.9)
    assert len(listener.received) == 1
    frozen_clock.advance_clock(0.2)
    assert listener.wait_for(2) == ["x", "x"]
    assert [received.body["callbackCount"] for received in listener.received] == [1, 2]
    assert len({received.body["requestId"] for received in listener.received}) == 1
    listener.release()
    frozen_clock.wait_until_idle()
    assert sorted(frozen_clock.fetch_deliveries()) == [(1, "delivered"), (2, "delivered")]
    assert frozen_clock.fetch_queue() == []


@holds("delivery.retryDocumented", "delivery.count")
def test_documented_three_retries_follow_every_five_minutes(
    frozen_clock: RawApiClient, listener: ScriptedListener
) -> None:
    frozen_clock.set_switches(retryProfile="documented", callbackBody="modern")
    frozen_clock.register(listener.url)
    listener.respond_with(503, 503, 503, 503)
    frozen_clock.send_message("x")
    listener.wait_for(1)
    frozen_clock.advance_clock(299)
    assert len(listener.received) == 1
    frozen_clock.advance_clock(3600)
    frozen_clock.wait_until_idle()
    assert [received.body["callbackCount"] for received in listener.received] == [1, 2, 3, 4]
    assert {received.body["maxCallbackThreshold"] for received in listener.received} == {4}
    moments = [
        datetime.fromisoformat(entry["at"].replace("Z", "+00:00")).timestamp()
        for entry in frozen_clock.fetch_journal()["deliveries"]
    ]
    assert [round(later - earlier) for earlier, later in itertools.pairwise(moments)] == [300, 300, 300]
    assert frozen_clock.fetch_queue() == ["x"]


@holds("delivery.body")
def test_the_modern_body_adds_request_id_and_counts(client: RawApiClient, listener: ScriptedListener) -> None:
    client.set_switches(callbackBody="modern")
    client.register(listener.url)
    client.send_message("x")
    listener.wait_for(1)
    body = listener.received[0].body
    assert set(body) == {
        *("username", "password", "requestId", "deviceIds", "smsMessage", "callbackCount", "maxCallbackThreshold")
    }
    assert (body["callbackCount"], body["maxCallbackThreshold"]) == (1, 2)


@holds("delivery.ids")
def test_a_callback_has_two_lower_case_or_six_upper_case_device_ids(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.register(listener.url)
    client.send_message("x")
    client.wait_until_idle()
    client.set_switches(callbackDeviceIds="sixUpperCase")
    client.send_message("x")
    client.wait_until_idle()
    kinds = [[device_id["kind"] for device_id in received.body["deviceIds"]] for received in listener.received]
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
    client: RawApiClient, listener: ScriptedListener, value: str, received: str, raw: str
) -> None:
    client.set_switches(escaping=value)
    client.register(listener.url)
    client.send_message("a=b&c<d>")
    assert listener.wait_for(1) == [received]
    assert (raw in listener.received[0].raw) is True


@holds("delivery.redirect")
def test_a_redirect_is_not_followed(frozen_clock: RawApiClient, listener: ScriptedListener) -> None:
    frozen_clock.register(listener.url)
    listener.default_response = ScriptedResponse(status=307, headers=(("Location", f"{listener.url}/other"),))
    frozen_clock.send_message("x")
    listener.wait_for(1)
    frozen_clock.advance_clock(10)
    assert {received.path for received in listener.received} == {"/callbacks"}
    assert frozen_clock.fetch_queue() == ["x"]


@holds("delivery.url")
def test_the_callback_url_is_sent_as_registered(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(f"{listener.url}/%20a%2Fb%7e")
    client.send_message("x")
    listener.wait_for(1)
    assert listener.received[0].path == "/callbacks/%20a%2Fb%7e"


@holds("delivery.huge")
def test_an_endless_response_is_cut_off(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url)
    listener.responses.append(ScriptedResponse(endless=True))
    client.send_message("x")
    listener.wait_for(1)
    client.wait_until_idle()
    assert client.fetch_deliveries() == [(1, "delivered")]


@holds("delivery.timeout")
def test_a_delivery_without_a_response_times_out_and_the_message_is_queued(
    frozen_clock: RawApiClient, listener: ScriptedListener
) -> None:
    frozen_clock.register(listener.url)
    listener.default_response = ScriptedResponse(hold=True)
    frozen_clock.send_message("x")
    listener.wait_for(1)
    frozen_clock.advance_clock(60)
    assert frozen_clock.fetch_deliveries() == [(1, "timeout"), (2, "timeout")]
    assert frozen_clock.fetch_queue() == ["x"]


@holds("delivery.unreachable")
def test_a_message_is_queued_when_the_listener_is_unreachable(frozen_clock: RawApiClient) -> None:
    with ScriptedListener() as stopped_listener:
        url = stopped_listener.url
    frozen_clock.register(url)
    frozen_clock.send_message("x")
    frozen_clock.advance_clock(5)
    assert frozen_clock.fetch_deliveries() == [(1, "unreachable"), (2, "unreachable")]
    assert frozen_clock.fetch_queue() == ["x"]


@holds("delivery.source")
def test_callbacks_come_from_published_addresses_and_retries_from_another_when_switched(
    frozen_clock: RawApiClient, listener: ScriptedListener
) -> None:
    frozen_clock.set_switches(sourceAddress="published")
    frozen_clock.register(listener.url)
    listener.respond_with(503)
    frozen_clock.send_message("x")
    listener.wait_for(1)
    frozen_clock.advance_clock(2)
    first, second = (received.headers["x-forwarded-for"] for received in listener.received)
    assert first != second
    assert {first, second} <= {*PUBLISHED.split(), "168.62.173.153"}


def create_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Create an authority's file, and a server context with its certificate for hooks.example.net."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hooks.example.net").configure_cert(context)
    return folder / "ca.pem", context


@holds("delivery.certificate")
def test_an_https_listener_needs_a_certificate_of_a_known_authority(tmp_path: Path) -> None:
    ca_file, context = create_certificate(tmp_path)
    with (
        ScriptedListener(context) as listener,
        EmulatorThread(EmulatorConfig(listener_timeout_seconds=5.0)) as without_ca,
        EmulatorThread(EmulatorConfig(ca_file=str(ca_file), listener_timeout_seconds=5.0)) as with_ca,
    ):
        for running, outcome in ((without_ca, "untrusted"), (with_ca, "delivered")):
            client = RawApiClient(running.url).log_in()
            client.control("PUT", "resolve", {"hooks.example.net:443": f"127.0.0.1:{listener.port}"})
            assert client.register("https://hooks.example.net/sms").status == 200
            client.send_message("x", ACCOUNT)
            client.advance_clock(5)
            client.wait_until_idle()
            assert client.fetch_deliveries()[0] == (1, outcome)
        client = RawApiClient(without_ca.url).log_in()
        client.set_switches(tlsVerification="skip")
        client.start_callbacks()
        listener.wait_for(2)


@holds("delivery.unicode")
def test_json_bodies_are_utf_8(client: RawApiClient, listener: ScriptedListener) -> None:
    client.register(listener.url)
    client.send_message("Füllstand 20 % €")
    assert listener.wait_for(1) == ["Füllstand 20 % €"]
    assert json.loads(listener.received[0].raw)["smsMessage"] == "Füllstand 20 % €"
