"""Texts over many kept connections, each sent when the one before it was answered."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import cast

CONNECTIONS = 64
LONGEST = 600.0  # seconds
ACCOUNT, PATH_TOKEN = "0000123456-00001", "invented-path-token"
CREDENTIAL = {"username": "plant-a", "password": "invented-password"}
PATH = f"/callbacks/{PATH_TOKEN}/{ACCOUNT}"


class Sender(asyncio.Protocol):
    """One connection: sends a text, waits for its answer, sends the next."""

    def __init__(self, number: int, work: Work) -> None:
        self._number = number
        self._work = work
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """An answer fits one segment: its body is empty."""
        self._work.took.append(time.perf_counter() - self._sent)
        self._work.refused += not data.startswith(b"HTTP/1.1 200")
        self._next()

    def _next(self) -> None:
        name = self._work.next()
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


class Work:
    """What all senders share: how many texts are left, how long each took."""

    def __init__(self, texts: int) -> None:
        self._left = texts
        self._under_way = 0
        self.took: list[float] = []
        self.refused = 0
        self.done = asyncio.get_running_loop().create_future()
        self._texts = texts

    def next(self) -> str | None:
        """The next text, or None when all are sent."""
        if len(self.took) == self._texts and not self.done.done():
            self.done.set_result(None)
        if self._left == 0:
            return None
        self._left -= 1
        return f"T={self._left}"


async def load(port: int, texts: int) -> dict[str, float]:
    """Texts a second, and milliseconds at the median and the 99th percentile."""
    work = Work(texts)
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    for number in range(CONNECTIONS):
        await loop.create_connection(lambda number=number: Sender(number, work), "127.0.0.1", port)
    await asyncio.wait_for(work.done, LONGEST)
    seconds = time.perf_counter() - begun
    cuts = statistics.quantiles(work.took, n=100)
    return {"perSecond": texts / seconds, "p50": cuts[49] * 1000, "p99": cuts[98] * 1000, "refused": work.refused}
