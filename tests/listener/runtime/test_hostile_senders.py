"""Slow, endless and numerous clients cost little, and callbacks are stored meanwhile."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.waiting import join_thread

HEAD = b"POST %s HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def connect(listener: ListenerProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
        yield connection


def receive_response(connection: socket.socket) -> bytes:
    """Return all bytes until the listener closes the connection."""
    response = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            response += piece
    return response


def read_memory(listener: ListenerProcess, value: str = "VmRSS") -> int:
    """Resident kB; with VmHWM the maximum since the start."""
    status = Path(f"/proc/{listener.process.pid}/status").read_text()
    return int(status.partition(f"{value}:")[2].split()[0])


@pytest.mark.parametrize("sent", [b"POS", HEAD % b"/", HEAD % b"/x" + b"Content-Length: 9\r\n\r\nabc"])
def test_incomplete_request_times_out_after_two_seconds(listener: ListenerProcess, sent: bytes) -> None:
    with connect(listener) as connection:
        connection.settimeout(60)
        begun = time.monotonic()
        connection.sendall(sent)
        response = receive_response(connection)
        seconds = time.monotonic() - begun
    assert response.split(b"\r\n")[0] in (b"HTTP/1.1 408 Request Timeout", b"HTTP/1.1 404 Not Found")
    assert 1.5 < seconds < 15  # the request timeout is 2 s; without it, the keep-alive timeout of 30 s applies


def test_slow_body_times_out_after_two_seconds_and_is_not_stored(listener: ListenerProcess) -> None:
    body = json.dumps(build_text_callback("dripped")).encode()
    with connect(listener) as connection:
        connection.sendall(HEAD % listener.path().encode() + b"Content-Length: %d\r\n\r\n" % len(body))
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for at in range(len(body)):
                connection.sendall(body[at : at + 1])
                time.sleep(0.1)
        assert time.monotonic() - begun < 0.05 * len(body)  # which would take twice as long
    assert "dripped" not in listener.message_texts()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD % b"/", b"X-Flood: 1\r\n" * 1000),
        (HEAD % b"/", b"x" * 12000),
        (b"GET /", b"x" * 12000),
        (HEAD % b"/nowhere" + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    ],
)
def test_the_connection_is_closed_when_headers_or_bodies_are_endless(
    listener: ListenerProcess, start: bytes, more: bytes
) -> None:
    before = read_memory(listener)
    with connect(listener) as connection:
        connection.sendall(start)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000:
                sent += connection.send(more)
    assert sent < 10_000_000
    assert read_memory(listener) - before < 4_000


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Room for as many connections as the system allows this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 11_000:
        pytest.skip(f"the system allows a process {before[1]} open files; 10,000 connections need 11,000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (11_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def is_honest_traffic_acknowledged(listener: ListenerProcess, message_count: int = 10) -> bool:
    """Return whether every message, on a connection of its own, is acknowledged within two seconds."""
    for number in range(message_count):
        begun = time.monotonic()
        response = requests.post(
            listener.url + listener.path(), json=build_text_callback(f"honest {number}"), timeout=10
        )
        if response.status_code != 200 or time.monotonic() - begun > 2:
            return False
    return True


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize(
    ("number", "kilobytes"), [(1000, 20_000), pytest.param(10_000, 120_000, marks=pytest.mark.long)]
)
def test_messages_are_stored_while_thousands_of_connections_are_idle_then_slow_then_closed(
    listener: ListenerProcess, number: int, kilobytes: int
) -> None:
    before = read_memory(listener)
    with contextlib.ExitStack() as slow:
        connections = [slow.enter_context(connect(listener)) for _ in range(number)]
        assert is_honest_traffic_acknowledged(listener)
        for connection in connections:
            connection.sendall(HEAD % listener.path().encode())
        assert is_honest_traffic_acknowledged(listener)
        for connection in connections:
            assert receive_response(connection).startswith(b"HTTP/1.1 408 ")
        assert is_honest_traffic_acknowledged(listener)
    assert read_memory(listener) - before < kilobytes


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize(
    ("number", "headers", "kilobytes"),
    [
        pytest.param(200, b"a:b\r\n" * 13_000, 15_000, marks=pytest.mark.long),
        pytest.param(1500, b"a:b\r\n" * 13_000, 40_000, marks=pytest.mark.long),
        pytest.param(10_000, b"ab:cd\r\n" * 99, 80_000, marks=pytest.mark.long),
    ],
)
def test_memory_is_bounded_and_messages_are_stored_when_many_connections_send_headers(
    start: Callable[..., ListenerProcess], number: int, headers: bytes, kilobytes: int
) -> None:
    listener = start()
    assert is_honest_traffic_acknowledged(listener)
    before = read_memory(listener, "VmHWM")
    over = threading.Event()
    sent = threading.Event()

    def send() -> None:
        while not over.is_set():
            with contextlib.ExitStack() as connections:
                for _ in range(number):
                    connection = connections.enter_context(connect(listener))
                    with contextlib.suppress(OSError):
                        connection.sendall(HEAD % b"/" + headers)
                sent.set()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert sent.wait(60)
        assert is_honest_traffic_acknowledged(listener)
    finally:
        over.set()
        join_thread(sender)
    assert read_memory(listener, "VmHWM") - before < kilobytes


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (HEAD % b"/x" + b"a:b\r\n" * 99 + b"\r\n", b"404 Not Found"),
        (HEAD % b"/x" + b"a:b\r\n" * 101, b"431 Request Header Fields Too Large"),
        (HEAD % b"/x" + b"a:" + b"b" * 16_384, b"431 Request Header Fields Too Large"),
        (b"GET /" + b"x" * 16_384, b"431 Request Header Fields Too Large"),
    ],
)
def test_request_is_rejected_when_its_head_is_too_large(
    listener: ListenerProcess, request_head: bytes, status: bytes
) -> None:
    with connect(listener) as connection:
        connection.sendall(request_head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)


def test_new_connections_are_accepted_when_idle_ones_use_all_descriptors(
    start: Callable[..., ListenerProcess],
) -> None:
    listener = start(before=("sh", "-c", 'ulimit -n 200 && exec "$@"', "sh"))
    with contextlib.ExitStack() as idle:
        for _ in range(400):
            idle.enter_context(connect(listener))
        assert is_honest_traffic_acknowledged(listener)
    assert listener.message_texts().count("honest 0") == 1


FLOODS = {
    "requests whose responses are not read": (b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000),
    "headers": (HEAD % b"/", b"X-Flood: 1\r\n" * 1000),
    "short headers": (HEAD % b"/", b"a:b\r\n" * 10_000),
    "a body in chunks": (HEAD % b"/x" + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    "a body announced as endless": (HEAD % b"/x" + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536),
    "deep JSON": (
        b"",
        HEAD % b"/callbacks/invented-path-token/a" + b"Content-Length: 8005\r\n\r\n" + b'{"a":' + b"[" * 8000,
    ),
    "what is not UTF-8": (
        b"",
        HEAD % b"/callbacks/invented-path-token/a" + b"Content-Length: 8000\r\n\r\n" + b"\xff" * 8000,
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_messages_are_stored_while_many_clients_send_endless_requests(listener: ListenerProcess, flood: str) -> None:
    begin, more = FLOODS[flood]
    before = read_memory(listener)
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), connect(listener) as connection:
                connection.settimeout(0.5)
                connection.sendall(begin)
                while not over.is_set():
                    connection.sendall(more)

    senders = [threading.Thread(target=send) for _ in range(20)]
    for sender in senders:
        sender.start()
    try:
        assert is_honest_traffic_acknowledged(listener)
        assert read_memory(listener) - before < 60_000
    finally:
        over.set()
        for sender in senders:
            join_thread(sender)


@pytest.mark.long
def test_connection_is_closed_when_client_does_not_read_responses(listener: ListenerProcess) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", listener.port))
        connection.settimeout(30)
        deadline = time.monotonic() + 60
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < deadline:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.01)  # so that few wait at a time
        assert time.monotonic() < deadline


def test_connection_is_closed_when_it_pipelines_too_many_requests(listener: ListenerProcess) -> None:
    with connect(listener) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        assert receive_response(connection).count(b"HTTP/1.1 200 OK") < 100


def test_requests_sent_at_once_on_one_connection_are_all_answered(listener: ListenerProcess) -> None:
    body = json.dumps(build_text_callback("pipelined")).encode()
    request = HEAD % listener.path().encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(listener) as connection:
        connection.sendall(request * 5)
        responses = b""
        while responses.count(b"200 OK") < 5:
            piece = connection.recv(65536)
            assert piece
            responses += piece
    assert listener.message_texts().count("pipelined") == 5
