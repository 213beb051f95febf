"""HTTP as other servers and load balancers send it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from tests.support.listener_process import ListenerProcess, build_text_callback
from thingspace_provider.listener.ingest.responses import NOT_FOUND
from thingspace_provider.listener.runtime.http_protocol import ConnectionLimits, HttpProtocol, OpenConnections

Start = Callable[..., ListenerProcess]


def build_request(listener: ListenerProcess, text: str, space: bytes = b"") -> bytes:
    body = json.dumps(build_text_callback(text)).encode()
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d%s\r\n\r\n"
    return head % (listener.path().encode(), len(body), space) + body


def connect(listener: ListenerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), 10)


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("space", [b" ", b"\t", b" \t "])
def test_white_space_after_a_header_value_is_ignored(listener: ListenerProcess, space: bytes) -> None:
    with connect(listener) as connection:
        connection.sendall(build_request(listener, f"spaced by {space!r}", space))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert listener.message_texts()[-1:] == [f"spaced by {space!r}"]


@pytest.mark.parametrize("requests", [1, 3])
def test_requests_are_answered_when_the_client_closes_its_sending_side(
    listener: ListenerProcess, requests: int
) -> None:
    with connect(listener) as connection:
        connection.sendall(build_request(listener, f"half-closed after {requests}") * requests)
        connection.shutdown(socket.SHUT_WR)
        started = time.monotonic()
        assert read_to_end(connection).count(b"HTTP/1.1 200 ") == requests
        assert time.monotonic() - started < 5  # the connection is closed after the last response
    assert listener.message_texts().count(f"half-closed after {requests}") == requests


@pytest.mark.parametrize("sent", [b"", b"POST / HTT", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"])
def test_connection_is_closed_when_the_client_closes_its_sending_side_early(
    listener: ListenerProcess, sent: bytes
) -> None:
    with connect(listener) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        started = time.monotonic()
        read_to_end(connection)
        assert time.monotonic() - started < 1.5  # before the request timeout of 2 seconds


def test_idle_connection_is_kept_for_the_keep_alive_seconds(start: Start) -> None:
    listener = start(keepAliveSeconds=2)
    with connect(listener) as used, connect(listener) as unused:
        used.sendall(build_request(listener, "first"))
        assert used.recv(65536).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        assert used.recv(1) == unused.recv(1) == b""
        assert 1 < time.monotonic() - started < 6


class RecordingTransport(asyncio.Transport):
    """Transport that records the written bytes until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await NOT_FOUND(scope, receive, send)


def test_largest_incomplete_requests_are_rejected_when_all_together_hold_too_much_memory() -> None:
    small = b"POST /x HTTP/1.1\r\nContent-Length: 1\r\n"
    large = small + b"X-Large: " + b"x" * 1000

    async def send_requests() -> None:
        connections = OpenConnections(ConnectionLimits(max_held_bytes=3000, max_held_bytes_per_connection=1000))
        config, state = uvicorn.Config(respond), ServerState()

        def connect_with(data: bytes) -> HttpProtocol:
            protocol = HttpProtocol(config, state, {}, connections=connections)
            protocol.connection_made(RecordingTransport())
            protocol.data_received(data)
            return protocol

        protocols = [connect_with(data) for data in (small, large, large, large, small)]
        written = [cast("RecordingTransport", protocol.transport).written for protocol in protocols]
        assert [data[:12] for data in written] == [b"", b"", b"", b"HTTP/1.1 503", b""]
        protocols[-1].data_received(b"\r\n1")
        await asyncio.gather(*state.tasks)
        assert cast("RecordingTransport", protocols[-1].transport).written.startswith(b"HTTP/1.1 404")
        pipelining = connect_with(large.replace(b"Content-Length: 1", b"Content-Length: 0") + b"\r\n\r\n")
        assert not pipelining.transport.is_closing()
        pipelining.data_received(b"GET / HTTP/1.1\r\n\r\n" * 2)
        assert pipelining.transport.is_closing()
        for protocol in (*protocols, pipelining):
            protocol.connection_lost(None)
        assert (connections.count, connections.held_bytes, connections.idle) == (0, 0, {})

    asyncio.run(send_requests())


@pytest.mark.parametrize("rest", [b"\x16\x03", b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 200])
def test_rejection_of_a_request_is_not_sent_while_an_earlier_one_has_no_response(rest: bytes) -> None:
    async def send_requests() -> bytes:
        connections = OpenConnections(ConnectionLimits())
        protocol = HttpProtocol(uvicorn.Config(respond), ServerState(), {}, connections=connections)
        protocol.connection_made(transport := RecordingTransport())
        protocol.data_received(b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + rest)
        assert transport.closed
        return transport.written

    assert asyncio.run(send_requests()) == b""
