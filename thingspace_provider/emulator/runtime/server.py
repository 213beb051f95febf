"""Serving an emulator over HTTP, in this process or in a thread of it."""

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
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from thingspace_provider.emulator.api.gateway import TRANSPORT
from thingspace_provider.emulator.control.control_api import ControlApi
from thingspace_provider.emulator.control.loopback_only import LoopbackOnly
from thingspace_provider.emulator.control.page import EmulatorPage
from thingspace_provider.emulator.emulator import Emulator, EmulatorConfig
from thingspace_provider.emulator.runtime.state_file import StateFileWriter

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "/api"
BACKLOG = 1024


class Application:
    """Everything an emulator serves: ThingSpace below `/api`, its own things elsewhere for this machine only."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._local_app = LoopbackOnly(Starlette(routes=[*ControlApi(emulator).routes, *EmulatorPage(emulator).routes]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, to one of the two."""
        self._emulator.request_count += 1
        if scope["type"] == "http" and (scope["path"] == PREFIX or scope["path"].startswith(f"{PREFIX}/")):
            await self._emulator.gateway(scope, receive, send)
        else:
            await self._local_app(scope, receive, send)


class _ConnectMethod(Exception):
    """A CONNECT request: it has no path and no body, and this server is no proxy."""


class _Protocol(HttpToolsProtocol):
    """Hands the connection to the application, so that a fault can cut it, and ignores offers to upgrade it.

    httptools parses a request that has an `Upgrade` header without its body, and would parse the body as the next
    request (request smuggling). Such a request is parsed a second time without that header.
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
        """Feed the parser. Returns what must be parsed next: a head without its upgrade offer, and what follows it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            version = self.parser.get_http_version().encode()
            lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)  # the old one may have seen the end of the connection
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
    """Tells when it listens, and ends what the emulator has under way before it waits for connections."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._ready, self._stop = ready, stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C and SIGTERM are how it is meant to end: they are not raised again afterwards."""
        del sig, frame
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._stop()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError if the port is taken."""
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
    """The root of a socket's URLs, without a slash at the end."""
    host, port = server.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - what a client on this machine then uses
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    config: EmulatorConfig, server: socket.socket, ready: Callable[[Emulator], None], state_file: Path | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, keeping the state in a file if one is given."""

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
    """An emulator served from a thread with its own event loop; `stop` leaves no thread and no socket behind."""

    def __init__(
        self, config: EmulatorConfig, host: str = "127.0.0.1", port: int = 0, *, grace_seconds: int = 2
    ) -> None:
        self._config = config
        self._grace_seconds = grace_seconds
        self._socket = bind(host, port)
        self.root = base_url(self._socket)
        self.url = self.root + PREFIX
        self._ready = threading.Event()
        self._server: _Server | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="thingspace-emulator", daemon=True)

    def start(self) -> Self:
        """Start serving; returns when the emulator answers."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Stop serving; returns when everything is gone."""
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
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that called start
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
