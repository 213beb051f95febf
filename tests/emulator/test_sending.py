from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fidelity import holds
from tests.support.raw_api_client import ACCOUNT, OTHER_ACCOUNT, TEXT_SERVICE, RawApiClient, RawResponse
from thingspace_provider.emulator.testing.scripted_listener import ScriptedListener

MDN = {"kind": "mdn", "id": "5551230001"}
SECOND = {"kind": "ICCID", "id": "89148000000000000002"}
DAY = 24 * 3600
CONFIRMATIONS = "SMSDeliveryConfirmation"


def send_order(client: RawApiClient, **changes: Any) -> RawResponse:
    body = {"accountName": ACCOUNT, "deviceIds": [MDN], "smsMessage": "report now", **changes}
    return client.m2m("POST", "/sms", {name: value for name, value in body.items() if value is not None})


def fetch_states(client: RawApiClient) -> list[str]:
    return [message["state"] for message in client.control("GET", "outbound-messages").json()["outboundMessages"]]


@pytest.fixture
def confirmations(caller: RawApiClient) -> Iterator[ScriptedListener]:
    with ScriptedListener() as listener:
        yield listener
        caller.control("POST", "reset")


@holds("sendSms.shape")
def test_a_send_returns_a_request_id_and_a_repeat_sends_twice(client: RawApiClient) -> None:
    first, second = send_order(client), send_order(client)
    assert (first.status, list(first.json())) == (200, ["requestId"])
    assert uuid.UUID(first.json()["requestId"]) != uuid.UUID(second.json()["requestId"])
    assert fetch_states(client) == ["queued", "queued"]


@holds("sendSms.account", "sendSms.accounts", "sendSms.accountEmpty")
def test_the_account_can_be_omitted_only_by_a_user_with_one(client: RawApiClient) -> None:
    assert send_order(client, accountName=None).code == "EnhancedConnectivityService.REQUEST_FAILED.MultipleAccounts"
    assert send_order(client, accountName="").code == "EnhancedConnectivityService.INPUT_INVALID.Account.NotDefined"
    state = client.control("GET", "state").json()
    state["users"]["emulator-user"]["accounts"] = [ACCOUNT]
    client.control("PUT", "state", state)
    assert send_order(client, accountName=None).status == 200
    state["users"]["emulator-user"]["accounts"] = []
    client.control("PUT", "state", state)
    assert send_order(client, accountName=None).code == "EnhancedConnectivityService.REQUEST_FAILED.NoAccounts"


@holds("sendSms.length", "sendSms.kinds", "sendSms.identifiers", "sendSms.unknownDevice", "sendSms.number")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"smsMessage": "x" * 160}, None),
        ({"smsMessage": "x" * 161}, "INPUT_INVALID.SmsMessage.TooLong"),
        ({"smsMessage": "x" * 140, "dataEncoding": "8-bit-ASCII"}, None),
        ({"smsMessage": "x" * 141, "dataEncoding": "8-bit-ASCII"}, "INPUT_INVALID.SmsMessage.TooLong"),
        ({"smsMessage": "é" * 71, "dataEncoding": "8-bit-UTF-8"}, "INPUT_INVALID.SmsMessage.TooLong"),
        ({"smsMessage": ""}, "INPUT_INVALID.SmsMessage.Null"),
        ({"smsMessage": None}, "INPUT_INVALID.SmsMessage.Null"),
        ({"dataEncoding": "9-bit"}, "REQUEST_FAILED.UnexpectedError"),
        ({"timeToLive": "000000010000000R"}, None),
        ({"timeToLive": "1h"}, "REQUEST_FAILED.UnexpectedError"),
        ({"deviceIds": None}, "DeserializationFailed"),
        ({"deviceIds": "5551230001"}, "REQUEST_FAILED.UnexpectedError"),
        ({"deviceIds": ["5551230001"]}, "REQUEST_FAILED.UnexpectedError"),
        ({"deviceIds": [{"kind": "MDN", "id": "5551230001"}]}, None),
        ({"deviceIds": [{"kind": "fax", "id": "5551230001"}]}, "INPUT_INVALID.Device.Kind.Invalid"),
        ({"deviceIds": [{"kind": "mdn", "id": "555"}]}, "INPUT_INVALID.Device.Identifier.Invalid"),
        ({"deviceIds": [{"kind": "mdn", "id": "5551230101"}]}, "REQUEST_FAILED.DeviceNotFound"),
        ({"deviceIds": [MDN] * 200}, None),
        ({"deviceIds": [MDN] * 201}, "INPUT_INVALID.NumberofDevices"),
        ({"deviceIds": [MDN] * 10_001}, "INPUT_INVALID.MaxRequestsExceeded"),
        ({"customFields": [{"key": "CustomField6", "value": "x"}]}, "INPUT_INVALID.CustomField.InvalidName"),
        ({"customFields": [{"key": "CustomField1", "value": "x" * 51}]}, "INPUT_INVALID.CustomField.TooLong"),
        ({"groupName": "unknown"}, "REQUEST_FAILED.DeviceGroupNotFound"),
        ({"servicePlan": "nothing"}, "REQUEST_FAILED.servicePlan.NotFound"),
    ],
)
def test_an_invalid_send_is_rejected_with_a_code(
    client: RawApiClient, changes: dict[str, Any], code: str | None
) -> None:
    reply = send_order(client, **changes)
    if code is None:
        assert reply.status == 200
    else:
        assert (reply.status, reply.code) == (400, f"EnhancedConnectivityService.{code}")
        assert fetch_states(client) == []


@holds("sendSms.inactive")
def test_an_inactive_device_is_rejected(client: RawApiClient) -> None:
    client.control("POST", "devices", {"accountName": ACCOUNT, "deviceIds": [MDN], "active": False})
    assert send_order(client).code == "EnhancedConnectivityService.INPUT_INVALID.DeviceState.Invalid"


@holds("sendSms.selection")
def test_devices_are_selected_by_group_plan_and_custom_field(client: RawApiClient) -> None:
    for device, group, field in ((MDN, "pumps", "north"), (SECOND, "pumps", "south")):
        client.control(
            "POST",
            "devices",
            {"accountName": ACCOUNT, "deviceIds": [device | {"kind": device["kind"].lower()}], "groupName": group}
            | {"servicePlan": "5MB", "customFields": {"CustomField1": field}},
        )
    assert send_order(client, deviceIds=None, groupName="pumps").status == 200
    assert len(fetch_states(client)) == 2
    assert send_order(client, deviceIds=None, customFields=[{"key": "CustomField1", "value": "south"}]).status == 200
    assert len(fetch_states(client)) == 3
    assert send_order(client, deviceIds=None, servicePlan="5MB").status == 200
    assert len(fetch_states(client)) == 5


@holds("sendSms.sent", "sendSms.confirmed", "sendSms.each", "sendSms.statusBody")
def test_sent_and_confirmation_callbacks_are_posted_for_each_device_to_two_services(
    client: RawApiClient, listener: ScriptedListener, confirmations: ScriptedListener
) -> None:
    client.register(listener.url, username="plant-a", password="example-only")
    client.register(confirmations.url, name=CONFIRMATIONS)
    request_id = send_order(client, deviceIds=[MDN, SECOND]).json()["requestId"]
    client.advance_clock(10)
    client.wait_until_idle()
    assert fetch_states(client) == ["delivered", "delivered"]
    for receiver, words in ((listener, "Sent"), (confirmations, "Delivered")):
        bodies = [received.body for received in receiver.received]
        assert [body["requestId"] for body in bodies] == [request_id, request_id]
        assert {body["deviceIds"][0]["id"] for body in bodies} == {"5551230001", "5551230002"}
        assert all("smsMessage" not in body for body in bodies)
        assert bodies[0]["deviceResponse"] == {"smsDeliveryResponse": {"confirmation": words}}
        assert (bodies[0]["status"], bodies[0]["callbackCount"], bodies[0]["maxCallbackThreshold"]) == ("Success", 1, 2)
    assert listener.received[0].body["username"] == "plant-a"
    assert confirmations.received[0].body["username"] == ""


@holds("sendSms.expired")
@pytest.mark.parametrize(
    ("life", "seconds"), [(None, 5 * DAY), ("000000010000000R", 3600), ("990000000000000R", 5 * DAY)]
)
def test_a_message_to_an_unreachable_device_expires(
    client: RawApiClient, confirmations: ScriptedListener, life: str | None, seconds: int
) -> None:
    client.control("POST", "devices", {"accountName": ACCOUNT, "deviceIds": [MDN], "reachable": False})
    client.register(confirmations.url, name=CONFIRMATIONS)
    request_id = send_order(client, timeToLive=life).json()["requestId"]
    client.advance_clock(seconds - 5)
    assert fetch_states(client) == ["queued"]
    client.advance_clock(10)
    confirmations.wait_for(0)
    client.wait_until_idle()
    (confirmation,) = confirmations.received
    assert confirmation.body["requestId"] == request_id
    assert confirmation.body["deviceResponse"] == {"smsDeliveryResponse": {"confirmation": "Expired"}}
    assert confirmation.body["status"] == "Failed"
    assert fetch_states(client) == ["expired"]


@holds("sendSms.returning")
def test_a_message_is_sent_when_its_device_is_reachable_again(client: RawApiClient) -> None:
    device = {"accountName": ACCOUNT, "deviceIds": [MDN]}
    client.control("POST", "devices", {**device, "reachable": False})
    send_order(client)
    client.advance_clock(DAY)
    assert fetch_states(client) == ["queued"]
    client.control("POST", "devices", {**device, "reachable": True})
    client.advance_clock(5)
    assert fetch_states(client) == ["delivered"]
    client.advance_clock(10 * DAY)
    assert fetch_states(client) == ["delivered"]


@holds("delivery.archive")
def test_an_undelivered_status_callback_is_archived_for_thirty_days_and_resent_by_its_id(
    client: RawApiClient, listener: ScriptedListener
) -> None:
    client.register(listener.url)
    listener.respond_with(503, 503)
    request_id = send_order(client).json()["requestId"]
    client.advance_clock(10)
    client.wait_until_idle()
    archived = client.control("GET", "archive").json()["archive"]
    assert archived == [{"requestId": request_id, "accountName": ACCOUNT, "serviceName": TEXT_SERVICE}]
    assert client.control("POST", "archive/resend", {"requestId": request_id}).json() == {"count": 1}
    listener.wait_for(0)
    client.wait_until_idle()
    assert len(listener.received) == 3
    assert client.control("GET", "archive").json() == {"archive": []}
    listener.respond_with(503, 503)
    send_order(client)
    client.advance_clock(10)
    client.wait_until_idle()
    assert len(client.control("GET", "archive").json()["archive"]) == 1
    client.advance_clock(30 * DAY)
    assert client.control("GET", "archive").json() == {"archive": []}


@holds("sendSms.unknownDevice")
def test_a_device_of_another_account_is_rejected(client: RawApiClient) -> None:
    assert send_order(client, accountName=OTHER_ACCOUNT).code.endswith("DeviceNotFound")
    assert send_order(client, accountName=OTHER_ACCOUNT, deviceIds=[{"kind": "mdn", "id": "5551230101"}]).status == 200
