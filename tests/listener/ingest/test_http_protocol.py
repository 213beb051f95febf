"""HTTP as other servers and load balancers send it."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable

import pytest

from tests.support.listener_process import ListenerProcess, build_text_callback

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
