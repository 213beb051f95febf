"""Who is let in at /callbacks/{path_token}/{account}, and what everybody else is told."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from typing import Any

import pytest

from tests.support.listener_process import (
    ACCOUNT,
    OTHER_ACCOUNT,
    PASSWORD,
    PATH_TOKEN,
    PREVIOUS,
    USERNAME,
    ListenerProcess,
    build_text_callback,
)

NONCE = "a-nonce-of-16-ch"


def count_stored(listener: ListenerProcess) -> int:
    return len(listener.messages(kind="all"))


def test_a_text_with_the_right_credential_is_acknowledged_with_an_empty_body(listener: ListenerProcess) -> None:
    response = listener.post(build_text_callback("empty answer"))
    assert (response.status_code, response.content) == (200, b"")
    assert listener.message_texts()[-1] == "empty answer"


def test_the_account_of_a_text_is_the_one_in_its_url(listener: ListenerProcess) -> None:
    listener.post(build_text_callback("for the other"), listener.path(OTHER_ACCOUNT))
    assert listener.messages(account=OTHER_ACCOUNT)[-1]["text"] == "for the other"
    assert "for the other" not in [message["text"] for message in listener.messages(account=ACCOUNT)]


def test_the_previous_password_is_good_too(listener: ListenerProcess) -> None:
    assert listener.post(build_text_callback("late", password=PREVIOUS)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "wrong"},
        {"password": ""},
        {"password": None},
        {"password": PASSWORD + "x"},
        {"password": [PASSWORD]},
        {"username": "somebody"},
        {"username": None},
        {"username": USERNAME.upper()},
        {"username": "", "password": ""},
    ],
)
def test_a_wrong_user_name_or_password_is_forbidden_and_stores_nothing(
    listener: ListenerProcess, wrong: dict[str, Any]
) -> None:
    before = count_stored(listener)
    assert listener.post(build_text_callback(**wrong)).status_code == 403
    assert count_stored(listener) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"a":1}x', b'{"a" 1}', b"{1:2}", b'"text"', b"\xff\xfe"])
def test_what_is_not_a_json_object_is_malformed(listener: ListenerProcess, body: bytes) -> None:
    before = count_stored(listener)
    assert listener.post(body).status_code == 400
    assert count_stored(listener) == before


def test_json_nested_beyond_measure_is_malformed_and_the_listener_lives(listener: ListenerProcess) -> None:
    assert listener.post(b'{"a":' + b"[" * 8000).status_code == 400
    assert listener.post(build_text_callback("after the nesting")).status_code == 200


def test_a_body_above_8_kb_is_too_large_with_or_without_a_content_length(listener: ListenerProcess) -> None:
    body = json.dumps(build_text_callback("x" * 8192)).encode()
    assert listener.post(body).status_code == 413
    chunks = (body[at : at + 1000] for at in range(0, len(body), 1000))
    response = listener.session.post(listener.url + listener.path(), data=chunks, timeout=10)
    assert response.status_code == 413


def test_a_body_of_exactly_8_kb_is_taken(listener: ListenerProcess) -> None:
    room = 8192 - len(json.dumps(build_text_callback("")).encode())
    assert listener.post(build_text_callback("x" * room)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"/callbacks/wrong-path-token/{ACCOUNT}",
        f"/callbacks/{PATH_TOKEN}/0000123456-00009",
        f"/callbacks/{PATH_TOKEN}/",
        f"/callbacks/{PATH_TOKEN}",
        f"/callbacks/{PATH_TOKEN}/{ACCOUNT}/",
        f"/callbacks/{PATH_TOKEN}/{ACCOUNT}/more",
        f"/callbacks//{ACCOUNT}",
        "/callbacks",
        "/nowhere",
        "/healthz/",
    ],
)
def test_whatever_is_not_there_is_answered_alike(listener: ListenerProcess, path: str) -> None:
    seen = set()
    for method in ("GET", "POST", "PUT", "DELETE"):
        response = listener.session.request(
            method, listener.url + path, data=json.dumps(build_text_callback()), timeout=10
        )
        headers = {name.lower(): value for name, value in response.headers.items() if name.lower() != "date"}
        seen.add((response.status_code, response.content, tuple(sorted(headers.items()))))
    assert seen == {(404, b"not found", (("content-length", "9"), ("content-type", "text/plain; charset=utf-8")))}


def test_the_path_token_is_asked_before_the_body_is_looked_at(listener: ListenerProcess) -> None:
    assert listener.post(b"no json", f"/callbacks/wrong-path-token/{ACCOUNT}").status_code == 404


def test_the_account_is_asked_before_the_password(listener: ListenerProcess) -> None:
    response = listener.post(build_text_callback(password="wrong"), f"/callbacks/{PATH_TOKEN}/0000123456-00009")
    assert response.status_code == 404


def test_any_content_type_is_taken_for_json(listener: ListenerProcess) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        assert listener.post(build_text_callback(content_type), **{"Content-Type": content_type}).status_code == 200


def test_a_probe_is_answered_with_the_proof_of_the_same_credential(listener: ListenerProcess) -> None:
    before = count_stored(listener)
    response = listener.get(listener.path(), **{"ThingSpace-Probe": NONCE})
    proof = hmac.new(PASSWORD.encode(), f"{USERNAME}:{ACCOUNT}:{NONCE}".encode(), hashlib.sha256).hexdigest()
    assert (response.status_code, response.json()) == (200, {"account": ACCOUNT, "proof": proof})
    assert count_stored(listener) == before


@pytest.mark.parametrize("nonce", ["short", "x" * 129, "sixteen chars, no", None])
def test_a_probe_without_a_proper_nonce_finds_nothing(listener: ListenerProcess, nonce: str | None) -> None:
    headers = {"ThingSpace-Probe": nonce} if nonce else {}
    assert listener.get(listener.path(), **headers).status_code == 404


def test_a_probe_with_a_wrong_token_or_account_finds_nothing(listener: ListenerProcess) -> None:
    for path in (f"/callbacks/wrong-path-token/{ACCOUNT}", listener.path("0000123456-00009")):
        assert listener.get(path, **{"ThingSpace-Probe": NONCE}).status_code == 404


def test_what_is_not_http_is_refused_and_the_listener_lives(listener: ListenerProcess) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert listener.get("/healthz").status_code == 200
