"""Load over persistent connections, each of which sends a message after the response to the previous one."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import cast

CONNECTIONS = 64
TIMEOUT_SECONDS = 600.0
ACCOUNT, PATH_TOKEN = "0000123456-00001", "invented-path-token"
CREDENTIAL = {"username": "plant-a", "password": "invented-pass-phrase"}
PATH = f"/callbacks/{PATH_TOKEN}/{ACCOUNT}"


class Sender(asyncio.Protocol):
    """One connection: sends a message, waits for the response, sends the next."""

    def __init__(self, number: int, load_run: LoadRun) -> None:
        self._number = number
        self._load_run = load_run
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first message."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Record the response, which fits one segment because its body is empty."""
        self._load_run.durations.append(time.perf_counter() - self._sent)
        self._load_run.rejected += not data.startswith(b"HTTP/1.1 200")
        self._next()

    def _next(self) -> None:
        name = self._load_run.next()
        if name is None:
            self._transport.close()
            return
        body = json.dumps(
            {**CREDENTIAL, "deviceIds": [{"id": f"55512{self._number:05}", "kind": "mdn"}], "smsMessage": name}
        ).encode()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
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


async def load(port: int, messages: int) -> dict[str, float]:
    """Return messages per second, and the median and 99th percentile of the response time in milliseconds."""
    load_run = LoadRun(messages)
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    for number in range(CONNECTIONS):
        await loop.create_connection(lambda number=number: Sender(number, load_run), "127.0.0.1", port)
    await asyncio.wait_for(load_run.done, TIMEOUT_SECONDS)
    seconds = time.perf_counter() - begun
    cuts = statistics.quantiles(load_run.durations, n=100)
    return {
        "perSecond": messages / seconds,
        "p50": cuts[49] * 1000,
        "p99": cuts[98] * 1000,
        "rejected": load_run.rejected,
    }
