"""How fast the emulator drains a queue, how much memory a queue takes, how soon the emulator is ready.

Ten thousand queued texts go through startCallbacks to a listener that answers at once. Beside it, as what anybody
would write first: the same posts one after the other over one kept connection, with requests.

    python benchmarks/emulator_drain.py          prints a table
    python benchmarks/emulator_drain.py --json   prints one JSON object
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import requests
import uvloop

MESSAGES = 10_000
QUEUED_MESSAGES = 100_000
ROUNDS = 3
COMMAND = (sys.executable, "-m", "thingspace_provider.cli", "emulator")
ACCOUNT = "0000123456-00001"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class CountingProtocol(asyncio.Protocol):
    """Answers 200 to each request as soon as it is whole, and counts."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing read."""
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            match = LENGTH.search(self.buffer, 0, end)
            size = end + 4 + (int(match.group(1)) if match else 0)
            if len(self.buffer) < size:
                return
            self.buffer = self.buffer[size:]
            CountingProtocol.count += 1
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]


def listen(pipe: Connection) -> None:
    """A listener in a process of its own; says its port, then each time it is asked how many came."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(CountingProtocol, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        while await loop.run_in_executor(None, pipe.recv):
            pipe.send(CountingProtocol.count)

    uvloop.run(main())


class Emulator:
    """The emulator as a process; it is ready when its first line is there."""

    def __init__(self) -> None:
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--json", "--switch", "registrationPorts=any"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = json.loads((self.process.stdout or sys.stdin).readline())
        self.ready = time.perf_counter() - began
        self.url = self.facts["url"]
        self.root = self.url.removesuffix("/api")
        self.http = requests.Session()

    def log_in(self) -> None:
        """Get a token and a session."""
        pair = (self.facts["appKey"], self.facts["appSecret"])
        form = {"grant_type": "client_credentials"}
        token = self.http.post(f"{self.url}/ts/v1/oauth2/token", form, auth=pair).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        credentials = {"username": self.facts["username"], "password": self.facts["password"]}
        session = self.http.post(f"{self.url}/m2m/v1/session/login", json=credentials).json()["sessionToken"]
        self.http.headers["VZ-M2M-Token"] = session

    def fill(self, count: int) -> None:
        """Queue so many texts."""
        body = {"accountName": ACCOUNT, "message": "T=21.5", "repeat": count}
        self.http.post(f"{self.root}/_emulator/messages", json=body).raise_for_status()

    def resident_megabytes(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def end(self) -> None:
        """Stop."""
        self.process.terminate()
        self.process.wait()


def drain(pipe: Connection, port: int) -> float:
    """Texts a second through startCallbacks."""
    emulator = Emulator()
    emulator.log_in()
    emulator.fill(MESSAGES)
    body = {"name": "EnhancedConnectivityService", "url": f"http://127.0.0.1:{port}/"}
    emulator.http.post(f"{emulator.url}/m2m/v1/callbacks/{ACCOUNT}", json=body).raise_for_status()
    before = count_posts(pipe)
    began = time.perf_counter()
    emulator.http.put(f"{emulator.url}/m2m/v1/sms/{ACCOUNT}/startCallbacks").raise_for_status()
    while count_posts(pipe) - before < MESSAGES:
        time.sleep(0.002)
    taken = time.perf_counter() - began
    emulator.end()
    return MESSAGES / taken


def post_sequentially(port: int) -> float:
    """Texts a second with a loop over requests."""
    body = {"username": "", "password": "", "deviceIds": [{"id": "5551230001", "kind": "mdn"}], "smsMessage": "T=21.5"}
    with requests.Session() as session:
        began = time.perf_counter()
        for _ in range(MESSAGES // 5):
            session.post(f"http://127.0.0.1:{port}/", json=body)
        return MESSAGES / 5 / (time.perf_counter() - began)


def count_posts(pipe: Connection) -> int:
    """How many posts the listener has answered."""
    pipe.send(True)
    return int(pipe.recv())


def main() -> None:
    """Measure in turn, so that a slow moment of the machine hits both."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=listen, args=(there,), daemon=True)
    process.start()
    port = here.recv()
    drained, looped = [], []
    for _ in range(ROUNDS):
        drained.append(drain(here, port))
        looped.append(post_sequentially(port))
    emulator = Emulator()
    empty = emulator.resident_megabytes()
    emulator.fill(QUEUED_MESSAGES)
    held = emulator.resident_megabytes()
    emulator.end()
    ready = []
    for _ in range(5):
        emulator = Emulator()
        ready.append(emulator.ready)
        emulator.end()
    here.send(False)
    result = {
        "drainedPerSecond": round(statistics.median(drained)),
        "oneByOnePerSecond": round(statistics.median(looped)),
        "ratio": round(statistics.median(drained) / statistics.median(looped), 2),
        "megabytesEmpty": round(empty),
        "megabytesWith100000Texts": round(held),
        "readySeconds": round(statistics.median(ready), 3),
    }
    if "--json" in sys.argv:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:26} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
