"""Load over persistent connections, each of which sends a message after the response to the previous one."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import time
from typing import NamedTuple, cast

CONNECTIONS = 64
TIMEOUT_SECONDS = 120.0
ACCOUNT, PATH_TOKEN = "0000123456-00001", "invented-path-token"
CREDENTIAL = {"username": "plant-a", "password": "invented-pass-phrase"}


class Target(NamedTuple):
    """Where messages are sent to, and the last bytes of a response."""

    port: int
    path: str = f"/callbacks/{PATH_TOKEN}/{ACCOUNT}"
    headers: str = ""
    response_end: bytes = b"\r\n\r\n"


class Sender(asyncio.Protocol):
    """One connection: sends a message, waits for the response, sends the next."""

    def __init__(self, number: int, load_run: LoadRun, target: Target) -> None:
        self._number = number
        self._target = target
        self._socket = socket.create_connection(("127.0.0.1", target.port))
        self._load_run = load_run
        self._sent = 0.0

    async def connect(self) -> None:
        """Use the connection in the event loop."""
        self._socket.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Record the response at its end, and send the next message."""
        if data.startswith(b"HTTP/1.1"):
            self._load_run.rejected += not data.startswith(b"HTTP/1.1 200")
        if data.endswith(self._target.response_end):
            self._load_run.durations.append(time.perf_counter() - self._sent)
            self.next()
        else:  # a server without TCP_NODELAY waits for the acknowledgement before it sends the rest
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def next(self) -> None:
        """Send a message, or close the connection when all are sent."""
        name = self._load_run.next()
        if name is None:
            self._transport.close()
            return
        body = json.dumps(
            {**CREDENTIAL, "deviceIds": [{"id": f"55512{self._number:05}", "kind": "mdn"}], "smsMessage": name}
        ).encode()
        head = (
            f"POST {self._target.path} HTTP/1.1\r\nHost: x\r\n{self._target.headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._sent = time.perf_counter()
        self._transport.write(head.encode() + body)


class LoadRun:
    """State that all senders share: remaining messages and response times."""

    def __init__(self, messages: int) -> None:
        self._remaining = messages
        self._under_way = 0
        self.durations: list[float] = []
        self.rejected = 0
        self.done = asyncio.get_running_loop().create_future()
        self._messages = messages

    def next(self) -> str | None:
        """Return the next message, or None when all are sent."""
        if len(self.durations) == self._messages and not self.done.done():
            self.done.set_result(None)
        if self._remaining == 0:
            return None
        self._remaining -= 1
        return f"T={self._remaining}"


async def load(targets: list[Target], messages: int) -> dict[str, float]:
    """Return messages per second, and the median and 99th percentile of the response time in milliseconds.

    The connections are distributed over the targets.
    """
    load_run = LoadRun(messages)
    senders = [Sender(number, load_run, targets[number % len(targets)]) for number in range(CONNECTIONS)]
    for sender in senders:
        await sender.connect()
    begun = time.perf_counter()
    for sender in senders:
        sender.next()
    await asyncio.wait_for(load_run.done, TIMEOUT_SECONDS)
    seconds = time.perf_counter() - begun
    cuts = statistics.quantiles(load_run.durations, n=100)
    return {
        "perSecond": messages / seconds,
        "p50": cuts[49] * 1000,
        "p99": cuts[98] * 1000,
        "rejected": load_run.rejected,
    }
