"""Benchmark of the emulator: queue drain per second, memory of a queue, start time.

startCallbacks sends 10,000 queued messages to a listener that responds at once. The baseline is a loop that sends the
same requests sequentially over one persistent connection, with the requests library.

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
    """Listener that responds with 200 to each complete request and counts them."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start with an empty buffer."""
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Respond to each complete request."""
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
    """Run the listener in its own process. It sends its port, then the count for each request on the pipe."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(CountingProtocol, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        while await loop.run_in_executor(None, pipe.recv):
            pipe.send(CountingProtocol.count)

    uvloop.run(main())


class Emulator:
    """Emulator process. It is ready when it prints its first line."""

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
        """Queue messages."""
        body = {"accountName": ACCOUNT, "message": "T=21.5", "repeat": count}
        self.http.post(f"{self.root}/_emulator/messages", json=body).raise_for_status()

    def resident_megabytes(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def end(self) -> None:
        """Stop the process."""
        self.process.terminate()
        self.process.wait()


def drain(pipe: Connection, port: int) -> float:
    """Return drained messages per second of startCallbacks."""
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
    """Return messages per second of the sequential loop."""
    body = {"username": "", "password": "", "deviceIds": [{"id": "5551230001", "kind": "mdn"}], "smsMessage": "T=21.5"}
    with requests.Session() as session:
        began = time.perf_counter()
        for _ in range(MESSAGES // 5):
            session.post(f"http://127.0.0.1:{port}/", json=body)
        return MESSAGES / 5 / (time.perf_counter() - began)


def count_posts(pipe: Connection) -> int:
    """Return the number of requests that the listener has received."""
    pipe.send(True)
    return int(pipe.recv())


def main() -> None:
    """Measure both alternately, so that load on the machine affects both."""
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
        "sequentialPerSecond": round(statistics.median(looped)),
        "ratio": round(statistics.median(drained) / statistics.median(looped), 2),
        "megabytesEmpty": round(empty),
        "megabytesWith100000Messages": round(held),
        "readySeconds": round(statistics.median(ready), 3),
    }
    if "--json" in sys.argv:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:26} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
