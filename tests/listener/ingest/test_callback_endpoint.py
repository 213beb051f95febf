"""Callback endpoint: accepted callbacks, and the response to every other request."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message, Receive

from tests.support.callback_servers import compute_proof
from tests.support.listener_process import (
    ACCOUNT,
    OTHER_ACCOUNT,
    PASSWORD,
    PATH_TOKEN,
    PREVIOUS,
    USERNAME,
    ListenerProcess,
    build_settings,
    build_text_callback,
)
from thingspace_provider.listener.ingest.callback_endpoint import CallbackEndpoint
from thingspace_provider.listener.ingest.group_commit import GroupCommitter
from thingspace_provider.listener.ingest.metrics import IngestMetrics
from thingspace_provider.listener.settings.listener_settings import load_settings

NONCE = "a-nonce-of-16-ch"


def count_stored(listener: ListenerProcess) -> int:
    return len(listener.messages(kind="all"))


def test_callback_with_a_valid_credential_is_acknowledged_with_an_empty_body(listener: ListenerProcess) -> None:
    response = listener.post(build_text_callback("empty answer"))
    assert (response.status_code, response.content) == (200, b"")
    assert listener.message_texts()[-1] == "empty answer"


def test_account_of_a_message_is_the_one_in_the_url(listener: ListenerProcess) -> None:
    listener.post(build_text_callback("for the other"), listener.path(OTHER_ACCOUNT))
    assert listener.messages(account=OTHER_ACCOUNT)[-1]["text"] == "for the other"
    assert "for the other" not in [message["text"] for message in listener.messages(account=ACCOUNT)]


def test_previous_password_is_accepted(listener: ListenerProcess) -> None:
    assert listener.post(build_text_callback("late", password=PREVIOUS)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "wrong"},
        {"password": ""},
        {"password": None},
        {"password": PASSWORD + "x"},
        {"password": [PASSWORD]},
        {"username": "another-user"},
        {"username": None},
        {"username": USERNAME.upper()},
        {"username": "", "password": ""},
    ],
)
def test_callback_is_forbidden_and_not_stored_when_the_credential_is_invalid(
    listener: ListenerProcess, wrong: dict[str, Any]
) -> None:
    before = count_stored(listener)
    assert listener.post(build_text_callback(**wrong)).status_code == 403
    assert count_stored(listener) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"a":1}x', b'{"a" 1}', b"{1:2}", b'"text"', b"\xff\xfe"])
def test_body_is_malformed_when_it_is_no_json_object(listener: ListenerProcess, body: bytes) -> None:
    before = count_stored(listener)
    assert listener.post(body).status_code == 400
    assert count_stored(listener) == before


def test_body_is_malformed_when_its_json_is_nested_too_deeply(listener: ListenerProcess) -> None:
    assert listener.post(b'{"a":' + b"[" * 8000).status_code == 400
    assert listener.post(build_text_callback("after the nesting")).status_code == 200


def test_a_body_above_8_kb_is_too_large_with_or_without_a_content_length(listener: ListenerProcess) -> None:
    body = json.dumps(build_text_callback("x" * 8192)).encode()
    assert listener.post(body).status_code == 413
    chunks = (body[at : at + 1000] for at in range(0, len(body), 1000))
    response = listener.session.post(listener.url + listener.path(), data=chunks, timeout=10)
    assert response.status_code == 413


def test_body_of_exactly_8_kb_is_accepted(listener: ListenerProcess) -> None:
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
def test_response_is_the_same_for_every_missing_path(listener: ListenerProcess, path: str) -> None:
    seen = set()
    for method in ("GET", "POST", "PUT", "DELETE"):
        response = listener.session.request(
            method, listener.url + path, data=json.dumps(build_text_callback()), timeout=10
        )
        headers = {name.lower(): value for name, value in response.headers.items() if name.lower() != "date"}
        seen.add((response.status_code, response.content, tuple(sorted(headers.items()))))
    assert seen == {(404, b"not found", (("content-length", "9"), ("content-type", "text/plain; charset=utf-8")))}


def test_path_token_is_checked_before_the_body(listener: ListenerProcess) -> None:
    assert listener.post(b"no json", f"/callbacks/wrong-path-token/{ACCOUNT}").status_code == 404


def test_account_is_checked_before_the_password(listener: ListenerProcess) -> None:
    response = listener.post(build_text_callback(password="wrong"), f"/callbacks/{PATH_TOKEN}/0000123456-00009")
    assert response.status_code == 404


def test_any_content_type_is_parsed_as_json(listener: ListenerProcess) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        assert listener.post(build_text_callback(content_type), **{"Content-Type": content_type}).status_code == 200


def test_probe_response_has_the_proof_of_the_credential(listener: ListenerProcess) -> None:
    before = count_stored(listener)
    response = listener.get(listener.path(), **{"ThingSpace-Probe": NONCE})
    assert (response.status_code, response.json()) == (200, {"account": ACCOUNT, "proof": compute_proof(NONCE)})
    assert count_stored(listener) == before


@pytest.mark.parametrize("nonce", ["short", "x" * 129, "sixteen chars, no", None])
def test_probe_is_not_found_when_its_nonce_is_invalid(listener: ListenerProcess, nonce: str | None) -> None:
    headers = {"ThingSpace-Probe": nonce} if nonce else {}
    assert listener.get(listener.path(), **headers).status_code == 404


def test_probe_is_not_found_when_path_token_or_account_is_wrong(listener: ListenerProcess) -> None:
    for path in (f"/callbacks/wrong-path-token/{ACCOUNT}", listener.path("0000123456-00009")):
        assert listener.get(path, **{"ThingSpace-Probe": NONCE}).status_code == 404


def test_malformed_http_is_rejected(listener: ListenerProcess) -> None:
    with socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert listener.get("/healthz").status_code == 200


def test_event_loop_runs_while_a_proof_is_computed(tmp_path: Path) -> None:
    settings = load_settings(None, {}, build_settings(tmp_path, username="derived nowhere else"))
    metrics = IngestMetrics(CollectorRegistry())
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def respond() -> int:
        endpoint = CallbackEndpoint(settings, cast("GroupCommitter", None), metrics, on_rejected=lambda _: None)
        path = f"/callbacks/{PATH_TOKEN}/{ACCOUNT}"
        scope = {
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "headers": [(b"thingspace-probe", NONCE.encode())],
        }
        probe = asyncio.ensure_future(endpoint(scope, cast("Receive", None), send))
        turns = 0
        while not probe.done():
            await asyncio.sleep(0)
            turns += 1
        await probe
        return turns

    assert asyncio.run(respond()) > 100
    assert sent[0]["status"] == 200
