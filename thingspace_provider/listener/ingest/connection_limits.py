"""Limits of time, size and number for HTTP connections: slow, endless and numerous clients cost little.

Without them a client could hold a connection forever by sending a byte at times or by not reading a response.
Endless headers would fill the memory. Idle connections would use up the file descriptors, so that ThingSpace could
not connect. A request that arrives in one piece, as ThingSpace's do, needs no timer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from thingspace_provider.listener.ingest.http_protocol import HttpProtocol

REQUEST_TIMEOUT_RESPONSE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
REQUEST_TOO_LARGE_RESPONSE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one server.

    Args:
        request_timeout_seconds: from the first byte of a request to its last.
        write_timeout_seconds: for a client to make room for more of a response.
        max_connections: open connections.
        max_pipelined_requests: requests that a client can send before the first is answered.
        max_request_bytes: a request with its headers; a body of 8 kB in the smallest chunks fits.
    """

    request_timeout_seconds: float = 2.0
    write_timeout_seconds: float = 10.0
    max_connections: int = 12_000
    max_pipelined_requests: int = 16
    max_request_bytes: int = 65_536


class PipelineLimitExceeded(Exception):
    """Too many requests of one connection wait for a response. Uvicorn responds with 400 and closes it."""


class LimitedHttpProtocol(HttpProtocol):
    """One connection with limits. Uvicorn passes its own arguments.

    When `max_connections` are open, a new one replaces the one that has been without a complete request for longest.
    """

    _idle_connections: ClassVar[dict[LimitedHttpProtocol, None]] = {}  # oldest first
    _write_timer: asyncio.TimerHandle | None = None
    _timer: asyncio.TimerHandle | None = None
    _request_open = False  # a request has begun and is not complete
    _request_bytes = 0  # of the request that has begun
    _headers_complete = False  # of the current request, so that `cycle` belongs to it

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the keep-alive timer, which also bounds the wait for the first request."""
        super().connection_made(transport)
        self._idle_connections[self] = None
        if len(self.connections) > self._limits.max_connections:
            self._evict_oldest_idle()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_timer()
        self._idle_connections.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; bound the size and the duration of an incomplete request."""
        was_open = self._request_open
        self._request_bytes += len(data)
        super().data_received(data)
        if not self._request_open:
            self._request_bytes = 0
            self._stop_timer()
        elif self._request_bytes > self._limits.max_request_bytes:
            self._reject(REQUEST_TOO_LARGE_RESPONSE)
        elif not was_open:
            self._stop_timer()
            self._timer = self.loop.call_later(
                self._limits.request_timeout_seconds, self._reject, REQUEST_TIMEOUT_RESPONSE
            )

    def on_message_begin(self) -> None:
        """Begin a request. Raises PipelineLimitExceeded."""
        if len(self.pipeline) >= self._limits.max_pipelined_requests:
            raise PipelineLimitExceeded
        self._request_open, self._headers_complete = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the response. From here on only the application responds."""
        super().on_headers_complete()
        self._headers_complete = not self.parser.should_upgrade()

    def on_message_complete(self) -> None:
        """End the request, unless its head is parsed again."""
        super().on_message_complete()
        if not self.parser.should_upgrade():
            self._request_open = False
            self._idle_connections.pop(self, None)

    def on_response_complete(self) -> None:
        """Mark the connection as idle."""
        super().on_response_complete()
        if self in self.connections:
            self._idle_connections[self] = None

    def pause_writing(self) -> None:
        """Start the write timer: the client does not read the response."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._limits.write_timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the write timer: the client has read, or the connection is lost."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _evict_oldest_idle(self) -> None:
        oldest = next(iter(self._idle_connections))
        del self._idle_connections[oldest]
        oldest.transport.abort()

    def _reject(self, response: bytes) -> None:
        """Send a response, unless the application has begun one, and close the connection."""
        if not self.transport.is_closing():
            if not self._headers_complete or not self.cycle.response_started:
                self.transport.write(response)
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
