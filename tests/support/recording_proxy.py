"""Proxy in front of ThingSpace that records tokens and can slow down responses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.support.waiting import join_thread

TOKENS = ("Authorization", "VZ-M2M-Token")
BYTE_INTERVAL_SECONDS = 0.2  # shorter than any read timeout


@dataclass
class RecordingProxy:
    """URL of the proxy, up to and including /api, and the recorded values of token headers."""

    url: str
    seen: set[str] = field(default_factory=set)


@contextmanager
def run_recording_proxy(url: str, *, slow: bool = False) -> Iterator[RecordingProxy]:
    """Forward requests to `url`. If `slow`, responses to startCallbacks never end."""
    over = threading.Event()
    seen: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            response = requests.request(
                self.command, url.removesuffix("/api") + self.path, headers=dict(self.headers), data=body, timeout=10
            )
            seen.update(value.split()[-1] for name in TOKENS if (value := self.headers.get(name)))
            drips = slow and self.path.endswith("/startCallbacks")
            self.send_response(response.status_code)
            self.send_header("Content-Length", str(1_000_000 if drips else len(response.content)))
            self.end_headers()
            if not drips:
                self.wfile.write(response.content)
            while drips and not over.wait(BYTE_INTERVAL_SECONDS):
                self.wfile.write(b" ")

        do_GET = do_POST = do_PUT = do_DELETE = forward  # noqa: N815  http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                return  # the client has disconnected

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield RecordingProxy(f"http://127.0.0.1:{server.server_port}/api", seen)
    finally:
        over.set()
        server.shutdown()
        join_thread(thread)
        server.server_close()
