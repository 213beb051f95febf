"""Scripted listener: records callbacks and sends prepared responses."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class ScriptedResponse:
    """Prepared response.

    Args:
        status: The HTTP status; a negative one closes the connection without a response.
        hold: Whether to wait for `ScriptedListener.release` first.
        headers: Names and values.
        body: The body.
        endless: Whether to send 100 MB instead of the body.
    """

    status: int = 200
    hold: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    endless: bool = False


@dataclass
class ReceivedCallback:
    """Received callback. `raw` is the unparsed body; header names are in lower case."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    raw: str


class ScriptedListener:
    """Listener on a free port of this machine. Responds with 200 unless a response is prepared."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.received: list[ReceivedCallback] = []
        self.responses: deque[ScriptedResponse] = deque()
        self.default_response = ScriptedResponse()
        self._released = threading.Event()
        self._arrived = threading.Condition()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                listener._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256

            def process_request(self, request: Any, client_address: Any) -> None:
                listener._connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._connections: list[socket.socket] = []
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/callbacks"
        self.registered_url = self.url
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def respond_with(self, *statuses: int) -> None:
        """Prepare the next responses, in this order."""
        self.responses.extend(ScriptedResponse(status) for status in statuses)

    def release(self) -> None:
        """Send every held response."""
        self._released.set()

    def wait_for(self, count: int, seconds: float = 10.0) -> list[str]:
        """Wait for this many callbacks and return the device messages. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.received) >= count, seconds):
                raise TimeoutError(f"{len(self.received)} of {count} callbacks arrived in {seconds} s: {self.messages}")
        return self.messages

    @property
    def messages(self) -> list[str]:
        """Content of the received device messages, in order."""
        return [callback.body["smsMessage"] for callback in self.received if "smsMessage" in callback.body]

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        with self._arrived:
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.received.append(ReceivedCallback(json.loads(content), headers, handler.path, content.decode()))
            response = self.responses.popleft() if self.responses else self.default_response
            self._arrived.notify_all()
        if response.hold:
            self._released.wait()
        if response.status < 0:
            handler.close_connection = True
            handler.connection.close()
            return
        try:
            handler.send_response(response.status)
            for name, value in response.headers:
                handler.send_header(name, value)
            if response.endless:
                handler.send_header("Content-Length", str(10**9))
                handler.end_headers()
                for _ in range(1000):
                    handler.wfile.write(b"x" * 100_000)
            else:
                handler.send_header("Content-Length", str(len(response.body)))
                handler.end_headers()
                handler.wfile.write(response.body)
        except OSError:
            handler.close_connection = True
