"""Callback parser: every form of the reference, and bodies without their credential."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.listener_process import PASSWORD, USERNAME, ListenerProcess, build_text_callback
from thingspace_provider.listener.callback_parser import MalformedBody, parse_body
from thingspace_provider.listener.model import Device

FAULT = {"faultcode": "EnhancedConnectivityService.REQUEST_FAILED.UnexpectedError", "faultstring": "example"}
SECRET = {"username": USERNAME, "password": PASSWORD}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def parse_response(**body: Any) -> Any:
    return parse_body(json.dumps(SECRET | body).encode()).to_callback()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"smsMessage": "T=21.5"}, "text"),
        ({"smsMessage": ""}, "text"),
        ({"smsMessage": "T", "status": "Failed", "faultResponse": FAULT}, "text"),
        ({"requestId": "r"}, "sent"),
        ({"requestId": "r", "smsMessage": None, "status": "Success"}, "sent"),
        ({"deviceResponse": {"somethingNew": {}}}, "sent"),
        ({"deviceResponse": {"smsDeliveryResponse": {"confirmation": "Delivered"}}}, "confirmation"),
        ({"deviceResponse": {"smsDeliveryResponse": {"faultResponse": {"faultcode": ""}}}}, "confirmation"),
        ({"deviceResponse": {"smsDeliveryResponse": {"faultResponse": FAULT}}}, "fault"),
        ({"faultResponse": FAULT, "status": "Failed"}, "fault"),
        ({"status": "Failed"}, "fault"),
        ({"deviceResponse": {"activateResponse": {}}}, "other"),
        ({"niddResponse": {}}, "other"),
    ],
)
def test_each_shape_of_the_reference_is_distinguished_from_the_others(body: dict[str, Any], kind: str) -> None:
    assert parse_response(**body).kind == kind


def test_device_ids_are_parsed_in_every_spelling_and_skipped_without_an_id() -> None:
    devices = [{"kind": "ESN", "id": "12345678901"}, {"kind": "Imei", "id": 990000862471854}, {"kind": "mdn"}, "x", {}]
    assert parse_response(deviceIds=devices).devices == (
        Device("esn", "12345678901"),
        Device("imei", "990000862471854"),
    )
    assert parse_response(deviceIds={"id": "1", "kind": "mdn"}).devices == (Device("mdn", "1"),)
    assert parse_response(deviceIds=None).devices == ()


def test_body_is_decoded_only_once() -> None:
    assert parse_body(rb'{"smsMessage": "a\\u003db \u003d"}').to_callback().text == r"a\u003db ="


@pytest.mark.parametrize(
    ("body", "expected_text"),
    [
        (b'{"smsMessage": "caf\xe9"}', "caf\ufffd"),
        (b'{"smsMessage": "caf\xc3\xa9"}', "caf\u00e9"),
        (b'\xef\xbb\xbf{"smsMessage": "marked"}', "marked"),
        (rb'{"smsMessage": "\ud83d\ude00 \ud800"}', "\U0001f600 \ufffd"),
        (b'{"smsMessage": "two\nlines\x00"}', "two\nlines\x00"),
        (b'{"smsMessage": 021.50}', None),
        (b'{"smsMessage": 21.50}', "21.50"),
        (b'{"smsMessage": {"text": "x"}}', '{"text": "x"}'),
    ],
)
def test_unusual_text_is_stored_rather_than_rejected(body: bytes, expected_text: str | None) -> None:
    if expected_text is None:
        with pytest.raises(MalformedBody):
            parse_body(body)
    else:
        callback = parse_body(body).to_callback()
        assert (callback.kind, callback.text) == ("text", expected_text)


def test_unusual_messages_are_read_from_the_store_as_they_were_parsed(start: Callable[..., ListenerProcess]) -> None:
    listener = start()
    odd = ["", "two\nlines\x00end", "\U0001f600", "\ufffd", "'); DROP TABLE callbacks; --", "\u202eright to left"]
    for message in odd:
        assert listener.post(build_text_callback(message)).status_code == 200
    latin = json.dumps(build_text_callback("caf?")).encode().replace(b"?", b"\xe9")
    assert listener.post(latin).status_code == 200
    assert listener.message_texts() == [*odd, "caf\ufffd"]


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=6), st.booleans(), st.sampled_from([None, 2]))
def test_the_stored_body_of_any_callback_is_that_body_without_its_secrets(
    body: dict[str, Any], escaped: bool, indent: int | None
) -> None:
    full_body = json.dumps(SECRET | body, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    stored_body = parse_body(full_body).to_callback().body
    assert json.loads(stored_body.decode("utf-8", "surrogatepass")) == {
        key: value for key, value in body.items() if key.lower() not in ("username", "password")
    }


@given(st.lists(st.tuples(st.sampled_from(["password", "Password", "PASSWORD", "username"]), st.just(PASSWORD))))
def test_password_is_removed_in_every_spelling_and_repetition(members: list[tuple[str, str]]) -> None:
    inner = ",".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in [*members, ("smsMessage", "T")])
    assert PASSWORD.encode() not in parse_body(f"{{{inner}}}".encode()).to_callback().body


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_malformed(body: bytes) -> None:
    try:
        callback = parse_body(body).to_callback()
    except MalformedBody:
        return
    assert callback.body.startswith(b"{")


@given(
    st.dictionaries(st.sampled_from(["deviceIds", "deviceResponse", "faultResponse", "requestId", "status"]), VALUES)
)
def test_fields_of_any_type_are_parsed(body: dict[str, Any]) -> None:
    callback = parse_response(**body)
    assert callback.kind in ("sent", "confirmation", "fault", "other")
    assert callback.text is None


def test_no_file_of_the_store_holds_a_secret(start: Callable[..., ListenerProcess]) -> None:
    listener = start()
    listener.post(build_text_callback("kept"))
    files = [file for file in listener.folder.iterdir() if file.name.startswith("inbox.")]
    assert any(b"kept" in file.read_bytes() for file in files)
    for file in files:
        assert PASSWORD.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0
