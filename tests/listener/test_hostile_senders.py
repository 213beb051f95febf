"""Slow, endless and numerous senders cost little, and honest texts are taken all the while."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from listener_process import ListenerProcess, text

HEAD = b"POST %s HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def connected(listener: ListenerProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Everything until the listener hangs up."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def memory(listener: ListenerProcess) -> int:
    """Resident kB."""
    status = Path(f"/proc/{listener.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("sent", [b"POS", HEAD % b"/", HEAD % b"/x" + b"Content-Length: 9\r\n\r\nabc"])
def test_an_unfinished_request_is_ended_after_two_seconds(listener: ListenerProcess, sent: bytes) -> None:
    with connected(listener) as connection:
        begun = time.monotonic()
        connection.sendall(sent)
        answer = received(connection)
        assert 1.5 < time.monotonic() - begun < 3
        assert answer.split(b"\r\n")[0] in (b"HTTP/1.1 408 Request Timeout", b"HTTP/1.1 404 Not Found")


def test_a_body_that_drips_is_ended_after_two_seconds_and_not_stored(listener: ListenerProcess) -> None:
    body = json.dumps(text("dripped")).encode()
    with connected(listener) as connection:
        connection.sendall(HEAD % listener.path().encode() + b"Content-Length: %d\r\n\r\n" % len(body))
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for at in range(len(body)):
                connection.sendall(body[at : at + 1])
                time.sleep(0.1)
        assert time.monotonic() - begun < 3
    assert "dripped" not in listener.texts()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD % b"/", b"X-Flood: 1\r\n" * 1000),
        (HEAD % b"/", b"x" * 12000),
        (b"GET /", b"x" * 12000),
        (HEAD % b"/nowhere" + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    ],
)
def test_headers_and_bodies_without_end_are_hung_up_on(listener: ListenerProcess, start: bytes, more: bytes) -> None:
    before = memory(listener)
    with connected(listener) as connection:
        connection.sendall(start)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                sent += connection.send(more)
    assert sent < 10_000_000
    assert memory(listener) - before < 4_000


def test_a_text_is_taken_within_two_seconds_while_a_thousand_slow_senders_hang_on(listener: ListenerProcess) -> None:
    before = memory(listener)
    with contextlib.ExitStack() as slow:
        for _ in range(1000):
            slow.enter_context(connected(listener)).sendall(HEAD % listener.path().encode())
        for number in range(20):
            begun = time.monotonic()
            assert listener.post(text(f"honest {number}")).status_code == 200
            assert time.monotonic() - begun < 2
        assert memory(listener) - before < 60_000


def test_requests_sent_at_once_on_one_connection_are_all_answered(listener: ListenerProcess) -> None:
    body = json.dumps(text("pipelined")).encode()
    one = HEAD % listener.path().encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connected(listener) as connection:
        connection.sendall(one * 5)
        answer = b""
        while answer.count(b"200 OK") < 5:
            piece = connection.recv(65536)
            assert piece
            answer += piece
    assert listener.texts().count("pipelined") == 5
