"""Request smuggling: a body is never parsed as a request, whatever upgrade the client offers."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ListenerProcess, build_text_callback, reserve_port
from tests.support.reverse_proxies import PROXIES, is_installed, reverse_proxy

INNER = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
OFFERS = {
    "h2c": b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    "h2c as curl sends it": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "several in one header": b"Connection: upgrade\r\nUpgrade: foo/2, h2c, websocket\r\n",
    "several headers": b"Upgrade: h2c\r\nConnection: close\r\nConnection: upgrade\r\nUPGRADE: TLS/1.0\r\n",
    "an empty one": b"Connection: upgrade\r\nUpgrade: \r\n",
    "of the connection alone": b"Connection: upgrade\r\n",
    "none": b"",
}
BODIES = {
    "a request": INNER,
    "line breaks before a request": b"\r\n\r\n" + INNER,
    "a half request": b"GET /healthz HTTP/1.1\r\nX-Swallow: ",
}


def read_responses(port: int, *segments: bytes, until_closed: bool = True) -> list[int]:
    """The status of each response to these segments, which arrive one by one."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection, contextlib.suppress(ConnectionError):
        for segment in segments:
            connection.sendall(segment)
            connection.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                while piece := connection.recv(65536):
                    received += piece
            connection.settimeout(10)
        if until_closed:
            while piece := connection.recv(65536):
                received += piece
    return [int(part.split(b" ", 1)[0]) for part in received.split(b"HTTP/1.1 ")[1:]]


LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def build_head(path: str, offer: bytes, body: bytes, method: bytes = b"POST") -> bytes:
    return b"%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (method, path.encode(), offer, len(body))


def expect_last(status: int, offer: str) -> list[int]:
    """One response, and one to the last request, unless the first request closed the connection."""
    return [status] if b"close" in OFFERS[offer] else [status, 404]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", OFFERS)
def test_a_request_is_responded_to_once_whatever_its_body_and_upgrade_offer(
    listener: ListenerProcess, offer: str, body: str
) -> None:
    received = read_responses(
        listener.port, build_head("/callbacks/x/y", OFFERS[offer], BODIES[body]), BODIES[body], LAST
    )
    assert received == expect_last(404, offer)


@pytest.mark.parametrize("offer", OFFERS)
def test_a_chunked_body_stays_a_body_when_an_upgrade_is_offered(listener: ListenerProcess, offer: str) -> None:
    start = b"POST /callbacks/x/y HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n" % OFFERS[offer]
    received = read_responses(listener.port, start, b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER), LAST)
    assert received == expect_last(404, offer)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("offer", OFFERS)
def test_a_callback_that_offers_an_upgrade_is_stored(listener: ListenerProcess, offer: str, split: bool) -> None:
    name = f"{offer}, {split}"
    body = json.dumps(build_text_callback(name)).encode()
    request = build_head(listener.path(), OFFERS[offer], body) + body
    at = len(request) - 10
    received = read_responses(listener.port, *((request[:at], request[at:]) if split else (request,)), LAST)
    assert received == expect_last(200, offer)
    assert listener.message_texts().count(name) == 1


def test_requests_that_offer_upgrades_are_all_responded_to_on_one_connection(listener: ListenerProcess) -> None:
    body = json.dumps(build_text_callback("upgrades in a row")).encode()
    request = build_head(listener.path(), OFFERS["h2c as curl sends it"], body) + body
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + OFFERS["websocket"] + b"\r\n"
    assert read_responses(listener.port, request * 3 + get, get + request, LAST) == [200] * 6 + [404]
    assert listener.message_texts().count("upgrades in a row") == 4


@pytest.mark.parametrize("body", [b"", INNER])
def test_connect_is_rejected_and_the_connection_closed(listener: ListenerProcess, body: bytes) -> None:
    received = read_responses(listener.port, build_head("x:443", b"", body, b"CONNECT"), body, LAST)
    assert received == [400]


@pytest.fixture(params=PROXIES)
def proxied_port(request: pytest.FixtureRequest, listener: ListenerProcess, tmp_path: Path) -> Iterator[int]:
    """The port of a real proxy that keeps one connection to the listener and passes upgrade offers on."""
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    with reverse_proxy(request.param, listener.port, reserve_port(), tmp_path) as port:
        yield port


@pytest.mark.parametrize("body", BODIES)
def test_client_without_a_token_cannot_swallow_the_next_callback_behind_a_proxy(
    listener: ListenerProcess, proxied_port: int, body: str
) -> None:
    inner = b"\r\n" * 2_000 + BODIES[body]
    for number in range(10):
        name = f"after {body} through {proxied_port}, {number}"
        attack = build_head("/callbacks/x/y", OFFERS["h2c"], inner)
        assert len(read_responses(proxied_port, attack + inner, until_closed=False)) <= 1
        url = f"http://127.0.0.1:{proxied_port}{listener.path()}"
        response = requests.post(url, json=build_text_callback(name), timeout=10)
        assert (response.status_code, response.content) == (200, b"")
        assert listener.message_texts().count(name) == 1


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("offer", OFFERS)
def test_the_emulator_responds_once_whatever_the_body_and_upgrade_offer(
    emulator: EmulatorProcess, offer: str, body: str
) -> None:
    port = int(emulator.url.split(":")[2].split("/")[0])
    for path in ("/api/ts/v1/oauth2/token", "/_emulator/nothing"):
        received = read_responses(port, build_head(path, OFFERS[offer], BODIES[body]), BODIES[body], LAST)
        assert len(received) == len(expect_last(404, offer))


def test_the_emulator_rejects_connect(emulator: EmulatorProcess) -> None:
    port = int(emulator.url.split(":")[2].split("/")[0])
    assert read_responses(port, build_head("x:443", b"", INNER, b"CONNECT"), INNER, LAST) == [400]
