from __future__ import annotations

import pytest

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, PASSWORD, TEXT_SERVICE, USERNAME, RawApiClient, RawResponse
from thingspace_provider.emulator.api.request_bodies import SERVICES
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

URL = "https://hooks.example.net/sms"


def list_registrations(client: RawApiClient) -> RawResponse:
    return client.m2m("GET", f"/callbacks/{ACCOUNT}")


def deregister(client: RawApiClient, name: str = TEXT_SERVICE) -> RawResponse:
    return client.m2m("DELETE", f"/callbacks/{ACCOUNT}/name/{name}")


@holds("registerCallback.shape", "listCallbacks.shape")
def test_a_listener_is_registered_by_name_and_listed_by_service_name(client: RawApiClient) -> None:
    reply = client.register(URL, username="plant-a", password="example-only")
    assert (reply.status, reply.json()) == (200, {"accountName": ACCOUNT, "serviceName": TEXT_SERVICE})
    assert list_registrations(client).json() == [
        {
            "accountName": ACCOUNT,
            "serviceName": TEXT_SERVICE,
            "url": URL,
            "username": "plant-a",
            "password": "example-only",
        }
    ]


@holds("listCallbacks.empty")
@pytest.mark.parametrize(("value", "body"), [("zeroLength", b""), ("array", b"[]"), ("null", b"null")])
def test_an_empty_list_has_the_switched_form(client: RawApiClient, value: str, body: bytes) -> None:
    client.set_switches(emptyCallbackList=value)
    assert (list_registrations(client).status, list_registrations(client).body) == (200, body)


@holds("listCallbacks.unset")
def test_a_listener_without_credentials_is_listed_without_or_with_empty_ones(client: RawApiClient) -> None:
    client.register(URL)
    assert list_registrations(client).json() == [{"accountName": ACCOUNT, "serviceName": TEXT_SERVICE, "url": URL}]
    client.set_switches(unsetCredentials="emptyStrings")
    assert list_registrations(client).json()[0]["username"] == list_registrations(client).json()[0]["password"] == ""


@holds("registerCallback.services")
def test_every_documented_service_is_accepted_and_others_are_rejected(client: RawApiClient) -> None:
    for name in SERVICES:
        assert client.register(URL, name=name).status == 200
    assert [entry["serviceName"] for entry in list_registrations(client).json()] == list(SERVICES)
    for name in ("DeviceMessages", "AlertsService", "", "SMS"):
        assert ".Emulator.ServiceName" in client.register(URL, name=name).code


@holds("registerCallback.ports", "registerCallback.olderPorts")
def test_only_the_published_ports_are_accepted(client: RawApiClient) -> None:
    def accepted(port: int) -> bool:
        return client.register(f"https://hooks.example.net:{port}/sms").status == 200

    edges = [79, 80, 81, 442, 443, 444, 9000, 9001, 9006, 9007, 28199, 28200, 28220, 28221, 50550, 50551, 50559, 50560]
    client.set_switches(registrationPorts="documented")
    assert [port for port in edges if accepted(port)] == [80, 443, 9001, 9006, 28200, 28220, 50551, 50559]
    assert client.register(URL).status == client.register("http://hooks.example.net").status == 200
    client.set_switches(registrationPorts="without28200")
    assert [port for port in edges if accepted(port)] == [80, 443, 9001, 9006, 50551, 50559]
    for port in (0, 8080):
        assert client.register(f"http://h:{port}").code.endswith("INPUT_INVALID.Emulator.Port")
    client.set_switches(registrationPorts="any")
    assert all(accepted(port) for port in edges)


@holds("registerCallback.url")
@pytest.mark.parametrize(
    "url", ["", "hooks.example.net", "ftp://h/x", "https://", "http://h:99999/", "http://[::1", " http://h"]
)
def test_an_invalid_url_is_rejected(client: RawApiClient, url: str) -> None:
    assert client.register(url).code.endswith("INPUT_INVALID.Emulator.Url")


@holds("registerCallback.credentials")
def test_credentials_must_be_short_and_differ_from_those_of_the_user(client: RawApiClient) -> None:
    assert client.register(URL, username="u" * 40, password="p" * 40).status == 200
    assert client.register(URL, password="p" * 41).code.endswith("Emulator.CredentialTooLong")
    assert client.register(URL, username=USERNAME, password=PASSWORD).code.endswith("Emulator.OwnCredentials")


@holds("registerCallback.one", "registerCallback.again")
def test_a_second_registration_replaces_the_first_or_is_rejected(client: RawApiClient) -> None:
    client.register(URL)
    assert client.register(f"{URL}/2").status == 200
    assert [entry["url"] for entry in list_registrations(client).json()] == [f"{URL}/2"]
    client.set_switches(reregistration="rejected")
    assert client.register(f"{URL}/3").code.endswith("REQUEST_FAILED.Emulator.AlreadyRegistered")
    assert [entry["url"] for entry in list_registrations(client).json()] == [f"{URL}/2"]


@holds("registerCallback.oldPassword")
def test_old_and_new_password_alternate_for_fourteen_minutes_when_switched(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.register(listener.url, password="old")
    client.register(listener.url, password="new")
    client.send_message("0")
    listener.wait_for(1)
    client.set_switches(passwordAfterReregistration="alternating")
    for number in range(1, 5):
        client.send_message(str(number))
        listener.wait_for(number + 1)
    client.advance_clock(14 * 60 + 1)
    client.send_message("5")
    listener.wait_for(6)
    assert [received.body["password"] for received in listener.received] == ["new", "old", "new", "old", "new", "new"]


@holds("deregisterCallback.shape")
def test_a_deregistered_listener_is_not_listed_and_messages_are_queued(client: RawApiClient) -> None:
    client.register(URL)
    reply = deregister(client)
    assert (reply.status, reply.json()) == (200, {"accountName": ACCOUNT, "serviceName": TEXT_SERVICE})
    assert list_registrations(client).body == b""
    client.send_message("queued")
    assert client.fetch_queue() == ["queued"]


@holds("deregisterCallback.unknown")
def test_deregistering_an_unknown_service_is_rejected_or_accepted(client: RawApiClient) -> None:
    reply = deregister(client)
    assert (reply.status, reply.code) == (400, "CallbackRegistrationService.REQUEST_FAILED.UnexpectedError")
    client.set_switches(deregisterUnknown="accepted")
    assert deregister(client).status == 200
