"""Events are valid CloudEvents, as read by the SDK of the CloudEvents project."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event

from tests.support.sample_messages import build_stored_message
from thingspace_provider.listener import model
from thingspace_provider.listener.forwarding import cloudevents
from thingspace_provider.listener.forwarding.cloudevents import to_cloudevent
from thingspace_provider.listener.model import Device


def test_a_device_message_is_a_valid_event_with_sender_content_and_time() -> None:
    event = from_structured_event(
        HTTPMessage({"content-type": cloudevents.CONTENT_TYPE}, to_cloudevent(build_stored_message()).body)
    )
    assert event.get_specversion() == "1.0"
    assert event.get_type() == "com.verizon.thingspace.sms.received"
    assert event.get_source() == "/thingspace/accounts/0000123456-00001"
    assert event.get_subject() == "mdn:5551230001"
    assert event.get_time() == datetime(2026, 3, 1, 8, 15, 30, 250_000, timezone.utc)
    assert event.get_datacontenttype() == "application/json"
    assert event.get_data() == {
        "id": "17",
        "account": "0000123456-00001",
        "devices": [{"kind": "iccid", "id": "89148000001234567890"}, {"kind": "mdn", "id": "5551230001"}],
        "text": "T=21.5 °C",
        "receivedAt": "2026-03-01T08:15:30.250Z",
        "duplicateOf": "16",
    }


@pytest.mark.parametrize("kind", model.KINDS)
def test_every_kind_has_its_own_type_and_status_callbacks_have_the_status_of_thingspace(kind: str) -> None:
    content = "T" if kind == model.TEXT else None
    event = json.loads(to_cloudevent(build_stored_message(kind=kind, text=content, body=b'{"status":"Success"}')).body)
    assert event["type"] == cloudevents.EVENT_TYPES[kind]
    assert len(set(cloudevents.EVENT_TYPES.values())) == len(model.KINDS)
    assert event["data"].get("body") == (None if content else '{"status":"Success"}')


def test_an_event_has_the_trace_context_of_a_message_that_was_stored_with_one() -> None:
    context = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "vendor=1"}
    traced = to_cloudevent(build_stored_message(trace_context=json.dumps(context)))
    event = from_structured_event(HTTPMessage({"content-type": cloudevents.CONTENT_TYPE}, traced.body))
    assert {name: event.get_extension(name) for name in context} == context
    plain = json.loads(to_cloudevent(build_stored_message()).body)
    assert json.loads(traced.body) == {**plain, **context}


def test_an_event_is_the_same_bytes_each_time_and_no_other_message_has_its_id() -> None:
    assert to_cloudevent(build_stored_message()) == to_cloudevent(build_stored_message())
    others = [
        build_stored_message(id=18),
        build_stored_message(account="other"),
        build_stored_message(received_at=1),
        build_stored_message(body=b"{}"),
    ]
    assert len({to_cloudevent(message).id for message in (build_stored_message(), *others)}) == 5


def test_the_partition_key_is_the_phone_number_whatever_else_a_message_names() -> None:
    number, card = Device("mdn", "5551230001"), Device("iccid", "89148000001234567890")
    named = [(number,), (card, number), (number, card)]
    assert {to_cloudevent(build_stored_message(devices=devices)).partition_key for devices in named} == {
        "mdn:5551230001"
    }
    without_device = to_cloudevent(build_stored_message(devices=()))
    assert without_device.partition_key == "0000123456-00001"
    assert "subject" not in json.loads(without_device.body)


def test_an_account_with_odd_characters_still_makes_a_valid_source() -> None:
    event = json.loads(to_cloudevent(dataclasses.replace(build_stored_message(), account="a/b ü")).body)
    assert event["source"] == "/thingspace/accounts/a%2Fb%20%C3%BC"
    assert event["data"]["account"] == "a/b ü"
