"""HTTP receiver in a thread, which can reject requests, respond slowly or be down."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvloop
from aiohttp import web

from tests.support.listener_process import reserve_port
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class ReceivedRequest:
    """Received POST request, with its target as sent, and its time."""

    target: str
    headers: dict[str, str]
    body: bytes
    received_at: float

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def text(self) -> str:
        return str(self.event["data"]["text"])


ReceiverResponse = tuple[int, dict[str, str]]
Responder = Callable[[ReceivedRequest], ReceiverResponse | float]


class Receiver:
    """Receiver that records requests and accepted requests. It responds with 204 by default."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.requests: list[ReceivedRequest] = []
        self.accepted: list[ReceivedRequest] = []
        self.responder: Responder = lambda _: (204, {})
        # As in the listener. asyncio's loop loses a connection that it accepted just before the server is closed.
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._runner: web.AppRunner | None = None
        self.port = reserve_port()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.up()

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}/hook?token=invented-url-token"

    def up(self) -> None:
        """Listen on the same port as before."""
        self._call(self._up())

    def down(self) -> None:
        """Refuse new connections and close the open ones."""
        self._call(self._down())

    def close(self) -> None:
        self.down()
        self._call(_cancel_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def accepted_texts(self) -> list[str]:
        """Return the content of each accepted message in order of arrival."""
        return [request.text for request in self.accepted]

    def wait(
        self, condition: Callable[[Receiver], bool], seconds: float = 30, what: str = "the receiver meets the condition"
    ) -> None:
        """Wait until the condition holds."""
        wait_until(lambda: condition(self), seconds, what)

    def wait_for(self, *messages: str, seconds: float = 30) -> None:
        """Wait until the receiver has accepted all of these messages."""
        self.wait(lambda receiver: set(messages) <= set(receiver.accepted_texts()), seconds, f"accepts {messages}")

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _up(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._respond)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self._context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _down(self) -> None:
        if self._runner:
            for site in list(self._runner.sites):
                await site.stop()
            await asyncio.sleep(0.05)
            await _run_event_loop()  # registers a connection that was just accepted, so that it is closed too
            for connection in self._runner.server.connections if self._runner.server else ():
                if connection.transport:
                    connection.transport.abort()
            await self._runner.cleanup()
            await _run_event_loop()
            self._runner = None

    async def _respond(self, request: web.Request) -> web.Response:
        received = ReceivedRequest(request.raw_path, dict(request.headers), await request.read(), time.monotonic())
        self.requests.append(received)
        response = self.responder(received)
        if isinstance(response, float):
            await asyncio.sleep(response)
            response = (204, {})
        status, headers = response
        if status in range(200, 300):
            self.accepted.append(received)
        return web.Response(status=status, headers=headers)


async def _run_event_loop() -> None:
    """Run the pending callbacks of the event loop. A sleep does not guarantee that on a busy machine."""
    for _ in range(20):
        await asyncio.sleep(0)


async def _cancel_tasks() -> None:
    """Cancel slow responses."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
