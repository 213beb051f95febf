"""How many texts a second the listener acknowledges durably, beside what anybody would write first.

Three servers take the same texts over 64 kept connections, one after the other, on the same disk in the same run:
the listener; a receiver of the same framework that commits each request by itself; and one that stores nothing,
which is the most that the framework can do. The time of one fdatasync of the disk is printed, because durable
figures mean nothing without it.

    python benchmarks/listener_acknowledgements.py           prints a table
    python benchmarks/listener_acknowledgements.py --json    prints one JSON object
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import apsw
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONNECTIONS = 64
TEXTS = 30_000
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
    await asyncio.wait_for(work.done, 60)
    seconds = time.perf_counter() - begun
    cuts = statistics.quantiles(work.took, n=100)
    return {"perSecond": texts / seconds, "p50": cuts[49] * 1000, "p99": cuts[98] * 1000, "refused": work.refused}


def beside(kind: str, store: str) -> None:
    """Serve what anybody would write first (`each`), or nothing at all (`none`)."""
    connection = apsw.Connection(store)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE texts (id INTEGER PRIMARY KEY, account TEXT, devices TEXT, text TEXT)")

    async def take(request: Request) -> Response:
        body = await request.json()
        if kind == "each":
            row = (request.path_params["account"], json.dumps(body["deviceIds"]), body["smsMessage"])
            connection.execute("INSERT INTO texts (account, devices, text) VALUES (?, ?, ?)", row)
        return Response()

    app = Starlette(routes=[Route("/callbacks/{token}/{account}", take, methods=["POST"])])
    config = uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="error", lifespan="off")
    with uvicorn_socket() as listening:
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def uvicorn_socket() -> Any:
    """A free port."""
    import socket  # noqa: PLC0415  only in the child

    return socket.create_server(("127.0.0.1", 0), backlog=2048)


def measure(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Start a server, load it, end it; also how soon it was ready and how much memory it had at the end."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **environment}) as process:
        assert process.stdout  # noqa: S101  for the type
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        ready = time.perf_counter() - begun
        try:
            uvloop.run(load(port, 2_000))  # warm
            figures = uvloop.run(load(port, TEXTS))
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
    return {**figures, "readySeconds": ready, "memoryMB": int(status.partition("VmRSS:")[2].split()[0]) / 1024}


def sync_milliseconds(folder: Path) -> float:
    """The median time of one fdatasync after 4 kB, as a commit needs it."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def main() -> None:
    """Measure all three and print."""
    if sys.argv[1:2] == ["--beside"]:
        beside(*sys.argv[2:])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {
            "THINGSPACE_LISTENER_ACCOUNTS": ACCOUNT,
            "THINGSPACE_LISTENER_USERNAME": CREDENTIAL["username"],
            "THINGSPACE_LISTENER_PASSWORD": CREDENTIAL["password"],
            "THINGSPACE_LISTENER_PATH_TOKEN": PATH_TOKEN,
            "THINGSPACE_LISTENER_STORE": f"sqlite:///{folder / 'inbox.sqlite3'}",
        }
        listener = [sys.executable, "-m", "thingspace_provider.cli", "listener", "--port", "0", "--json"]
        other = [sys.executable, __file__, "--beside"]
        figures: dict[str, Any] = {
            "fdatasyncMilliseconds": sync_milliseconds(folder),
            "listener": measure(listener, settings),
            "one commit per request": measure([*other, "each", str(folder / "each.sqlite3")], {}),
            "nothing stored": measure([*other, "none", str(folder / "none.sqlite3")], {}),
        }
    figures["ratio"] = figures["listener"]["perSecond"] / figures["one commit per request"]["perSecond"]
    if "--json" in sys.argv:
        print(json.dumps(figures))
        return
    print(
        f"{TEXTS} texts over {CONNECTIONS} connections; one fdatasync takes {figures['fdatasyncMilliseconds']:.2f} ms"
    )
    print(f"{'':24}{'texts/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'refused':>10}{'ready s':>10}{'MB':>8}")
    for title in ("listener", "one commit per request", "nothing stored"):
        row = figures[title]
        print(
            f"{title:24}{row['perSecond']:10.0f}{row['p50']:10.2f}{row['p99']:10.2f}{row['refused']:10.0f}"
            f"{row['readySeconds']:10.2f}{row['memoryMB']:8.0f}"
        )
    print(f"ratio to one commit per request: {figures['ratio']:.1f}")


if __name__ == "__main__":
    main()
