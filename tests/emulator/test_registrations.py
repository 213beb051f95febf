from __future__ import annotations

import pytest

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, PASSWORD, TEXTS, USERNAME, Caller, Reply
from thingspace_provider.emulator.api.request_bodies import SERVICES
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

URL = "https://hooks.example.net/sms"


def listed(client: Caller) -> Reply:
    return client.m2m("GET", f"/callbacks/{ACCOUNT}")


def deregister(client: Caller, name: str = TEXTS) -> Reply:
    return client.m2m("DELETE", f"/callbacks/{ACCOUNT}/name/{name}")


@holds("registerCallback.shape", "listCallbacks.shape")
def test_a_listener_is_registered_by_name_and_listed_by_service_name(client: Caller) -> None:
    reply = client.register(URL, username="plant-a", password="example-only")
    assert (reply.status, reply.json()) == (200, {"accountName": ACCOUNT, "serviceName": TEXTS})
    assert listed(client).json() == [
        {"accountName": ACCOUNT, "serviceName": TEXTS, "url": URL, "username": "plant-a", "password": "example-only"}
    ]


@holds("listCallbacks.empty")
@pytest.mark.parametrize(("value", "body"), [("zeroLength", b""), ("array", b"[]"), ("null", b"null")])
def test_an_empty_list_has_the_switched_form(client: Caller, value: str, body: bytes) -> None:
    client.switch(emptyCallbackList=value)
    assert (listed(client).status, listed(client).body) == (200, body)


@holds("listCallbacks.unset")
def test_a_listener_without_credentials_is_listed_without_or_with_empty_ones(client: Caller) -> None:
    client.register(URL)
    assert listed(client).json() == [{"accountName": ACCOUNT, "serviceName": TEXTS, "url": URL}]
    client.switch(unsetCredentials="emptyStrings")
    assert listed(client).json()[0]["username"] == listed(client).json()[0]["password"] == ""


@holds("registerCallback.services")
def test_every_service_can_be_registered_and_an_invented_one_cannot(client: Caller) -> None:
    for name in SERVICES:
        assert client.register(URL, name=name).status == 200
    assert [entry["serviceName"] for entry in listed(client).json()] == list(SERVICES)
    for name in ("DeviceMessages", "AlertsService", "", "SMS"):
        assert ".Emulator.ServiceName" in client.register(URL, name=name).code


@holds("registerCallback.ports", "registerCallback.olderPorts")
def test_only_the_published_ports_are_accepted(client: Caller) -> None:
    def accepted(port: int) -> bool:
        return client.register(f"https://hooks.example.net:{port}/sms").status == 200

    edges = [79, 80, 81, 442, 443, 444, 9000, 9001, 9006, 9007, 28199, 28200, 28220, 28221, 50550, 50551, 50559, 50560]
    client.switch(registrationPorts="documented")
    assert [port for port in edges if accepted(port)] == [80, 443, 9001, 9006, 28200, 28220, 50551, 50559]
    assert client.register(URL).status == client.register("http://hooks.example.net").status == 200
    client.switch(registrationPorts="without28200")
    assert [port for port in edges if accepted(port)] == [80, 443, 9001, 9006, 50551, 50559]
    for port in (0, 8080):
        assert client.register(f"http://h:{port}").code.endswith("INPUT_INVALID.Emulator.Port")
    client.switch(registrationPorts="any")
    assert all(accepted(port) for port in edges)


@holds("registerCallback.url")
@pytest.mark.parametrize(
    "url", ["", "hooks.example.net", "ftp://h/x", "https://", "http://h:99999/", "http://[::1", " http://h"]
)
def test_something_other_than_an_address_is_refused(client: Caller, url: str) -> None:
    assert client.register(url).code.endswith("INPUT_INVALID.Emulator.Url")


@holds("registerCallback.credentials")
def test_credentials_are_short_and_not_the_users_own(client: Caller) -> None:
    assert client.register(URL, username="u" * 40, password="p" * 40).status == 200
    assert client.register(URL, password="p" * 41).code.endswith("Emulator.CredentialTooLong")
    assert client.register(URL, username=USERNAME, password=PASSWORD).code.endswith("Emulator.OwnCredentials")


@holds("registerCallback.one", "registerCallback.again")
def test_registering_again_replaces_or_is_refused(client: Caller) -> None:
    client.register(URL)
    assert client.register(f"{URL}/2").status == 200
    assert [entry["url"] for entry in listed(client).json()] == [f"{URL}/2"]
    client.switch(reregistration="refused")
    assert client.register(f"{URL}/3").code.endswith("REQUEST_FAILED.Emulator.AlreadyRegistered")
    assert [entry["url"] for entry in listed(client).json()] == [f"{URL}/2"]


@holds("registerCallback.oldPassword")
def test_old_and_new_password_alternate_for_fourteen_minutes_when_switched(
    client: Caller, listener: ScriptedListener
) -> None:
    client.register(listener.url, password="old")
    client.register(listener.url, password="new")
    client.text("0")
    listener.wait_for(1)
    client.switch(passwordAfterReregistration="mixed")
    for number in range(1, 5):
        client.text(str(number))
        listener.wait_for(number + 1)
    client.advance(14 * 60 + 1)
    client.text("5")
    listener.wait_for(6)
    assert [one.body["password"] for one in listener.received] == ["new", "old", "new", "old", "new", "new"]


@holds("deregisterCallback.shape")
def test_a_deregistered_listener_is_gone(client: Caller) -> None:
    client.register(URL)
    reply = deregister(client)
    assert (reply.status, reply.json()) == (200, {"accountName": ACCOUNT, "serviceName": TEXTS})
    assert listed(client).body == b""
    client.text("queued")
    assert client.queued() == ["queued"]


@holds("deregisterCallback.unknown")
def test_deregistering_what_is_not_registered_is_refused_or_accepted(client: Caller) -> None:
    reply = deregister(client)
    assert (reply.status, reply.code) == (400, "CallbackRegistrationService.REQUEST_FAILED.UnexpectedError")
    client.switch(deregisterUnknown="accepted")
    assert deregister(client).status == 200
