"""Server: serves an emulator over HTTP, in this process or in a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import httptools
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from thingspace_provider.emulator.api.gateway import TRANSPORT
from thingspace_provider.emulator.control.access import api_rejection_reason, control_rejection_reason
from thingspace_provider.emulator.control.control_api import ControlApi
from thingspace_provider.emulator.control.page import EmulatorPage
from thingspace_provider.emulator.emulator import Emulator, EmulatorConfig
from thingspace_provider.emulator.runtime.state_file import StateFileWriter

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "/api"
BACKLOG = 1024


class Application:
    """ASGI application: the emulated API under `/api`; control API and page on the other paths, for this machine."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._local_app = Starlette(routes=[*ControlApi(emulator).routes, *EmulatorPage().routes])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        self._emulator.request_count += 1
        is_api = scope["path"] == PREFIX or scope["path"].startswith(f"{PREFIX}/")
        find_reason = api_rejection_reason if is_api else control_rejection_reason
        app: ASGIApp = self._emulator.gateway if is_api else self._local_app
        if reason := find_reason(scope, self._emulator.config.host):
            app = JSONResponse({"error": reason}, 403)
        await app(scope, receive, send)


class _ConnectMethod(Exception):
    """A CONNECT request, which only a proxy serves."""


class _Protocol(HttpToolsProtocol):
    """HTTP protocol that passes the connection to the application, for faults, and ignores `Upgrade` headers.

    httptools skips the body of a request with an `Upgrade` header and parses it as the next request (request
    smuggling). This protocol parses such a request a second time without the header.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)[TRANSPORT] = self.transport

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser. Returns the data to parse next: a head without its upgrade header, and the rest."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            version = self.parser.get_http_version().encode()
            lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(
                self
            )  # the old parser may have seen the last request of the connection
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as Uvicorn's
            return b"\r\n".join(lines) + b"\r\n\r\n" + data[upgrade.args[0] :]
        return b""

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise _ConnectMethod
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()


class _Server(uvicorn.Server):
    """Uvicorn server that calls `ready` when it listens, and `stop` before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._ready, self._stop = ready, stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop without raising the signal again, so that the exit code is 0."""
        del sig, frame
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._stop()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """Create a listening socket. Port 0 selects a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(BACKLOG)
    except OSError:
        server.close()
        raise
    return server


def base_url(server: socket.socket) -> str:
    """Return the root URL of a socket, without a trailing slash."""
    host, port = server.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - clients need an address
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    config: EmulatorConfig, server: socket.socket, ready: Callable[[Emulator], None], state_file: Path | None = None
) -> None:
    """Serve until SIGINT or SIGTERM. Writes the state to a file if one is given."""

    async def main() -> None:
        emulator = Emulator(config)
        writer = StateFileWriter(emulator, state_file) if state_file is not None else None
        writer_task = asyncio.create_task(writer.run()) if writer is not None else None
        try:
            await _create_server(emulator, lambda: ready(emulator)).serve([server])
        finally:
            if writer is not None and writer_task is not None:
                writer_task.cancel()
                writer.write()

    uvloop.run(main())


class EmulatorThread:
    """Emulator in a thread with its own event loop. `stop` leaves no thread and no socket behind."""

    def __init__(self, config: EmulatorConfig, *, grace_seconds: int = 2) -> None:
        self._config = config
        self._grace_seconds = grace_seconds
        self._socket = bind(config.host, 0)
        self.root = base_url(self._socket)
        self.url = self.root + PREFIX
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="thingspace-emulator", daemon=True)

    def start(self) -> Self:
        """Start the thread. Returns when the emulator accepts requests."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Stop the emulator. Returns when the thread has ended."""
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _run(self) -> None:
        async def main() -> None:
            self._server = _create_server(Emulator(self._config), self._ready.set, self._grace_seconds)
            await self._server.serve([self._socket])

        try:
            uvloop.run(main())
        except BaseException as error:  # noqa: BLE001 - start raises it in its thread
            self._failure = error
        finally:
            self._socket.close()
            self._ready.set()


def _create_server(emulator: Emulator, ready: Callable[[], None], grace_seconds: int = 2) -> _Server:
    application: Any = Application(emulator)
    config = uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=grace_seconds,
        timeout_keep_alive=30,
    )
    return _Server(config, ready, emulator.close)
