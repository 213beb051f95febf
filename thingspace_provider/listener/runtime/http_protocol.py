"""HTTP/1.1 for the listener: Uvicorn's protocol without its gaps against the RFCs, and with limits.

Without limits a client could hold a connection forever by sending a byte at times or by not reading a response. Endless
or numerous headers would fill the memory. Idle connections would use up the file descriptors, so that ThingSpace could
not connect. A request that arrives in one piece, as ThingSpace's do, needs no timer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_OBJECT_BYTES = 200  # a tuple, two bytes objects and an entry of a list


def _build_error_response(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()


MALFORMED = _build_error_response("400 Bad Request")
TIMED_OUT = _build_error_response("408 Request Timeout")
TOO_LARGE = _build_error_response("431 Request Header Fields Too Large")
OVERLOADED = _build_error_response("503 Service Unavailable")


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of one process.

    Args:
        request_timeout_seconds: from the first byte of a request to its last.
        write_timeout_seconds: for a client to make room for more of a response.
        max_connections: open connections.
        max_pipelined_requests: requests that a client can send before the first is answered.
        max_headers: headers of a request.
        max_head_bytes: an incomplete request line with headers.
        max_request_bytes: an incomplete request; a body of 8 kB in the smallest chunks fits.
        max_held_bytes: memory of all requests without a response. Above it, a connection that holds more than
            `max_held_bytes_per_connection` and waits for more data or with more than one request is closed.
    """

    request_timeout_seconds: float = 2.0
    write_timeout_seconds: float = 10.0
    max_connections: int = 12_000
    max_pipelined_requests: int = 16
    max_headers: int = 100
    max_head_bytes: int = 16_384
    max_request_bytes: int = 65_536
    max_held_bytes: int = 16_777_216
    max_held_bytes_per_connection: int = 8192


@dataclass
class OpenConnections:
    """Connections of all servers of a process, and the memory of their requests."""

    limits: ConnectionLimits
    count: int = 0
    held_bytes: int = 0
    idle: dict[HttpProtocol, None] = field(default_factory=dict)  # without a complete request, oldest first


class RequestRejected(Exception):
    """The parser must stop: CONNECT, or too many pipelined requests or headers. `response` is the error response."""

    def __init__(self, response: bytes = MALFORMED) -> None:
        super().__init__(response)
        self.response = response


class HttpProtocol(HttpToolsProtocol):
    """One connection. Uvicorn passes its own arguments.

    It ignores upgrade offers, trims header values, answers a half-closed client and enforces limits. When
    `max_connections` are open, a new one replaces the one that has been without a complete request for longest.

    RFC 9110 section 7.8 permits a server to ignore `Upgrade`. httptools parses a request with that header without
    its body, and would parse the body as the next request (request smuggling). Such a request is parsed a second
    time without the header.
    """

    _input_ended = False  # the client has closed its sending side
    _write_timer: asyncio.TimerHandle | None = None
    _timer: asyncio.TimerHandle | None = None
    _request_open = False  # a request has begun and is not complete
    _headers_complete = False  # of the current request, so that `cycle` belongs to it
    _request_bytes = 0  # of the request that has begun
    _held_bytes = 0  # memory of the requests without a response

    def __init__(self, *args: Any, connections: OpenConnections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open_connections = connections
        self._limits = connections.limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the keep-alive timer, which also bounds the wait for the first request."""
        super().connection_made(transport)
        others = self._open_connections
        others.count += 1
        others.idle[self] = None
        if others.count > self._limits.max_connections:
            oldest = next(iter(others.idle))
            del others.idle[oldest]
            oldest.transport.abort()
        self._timer = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and release the memory."""
        self._stop_timer()
        self._hold(-self._held_bytes)
        self._open_connections.count -= 1
        self._open_connections.idle.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; bound size, duration and memory of an incomplete request."""
        was_open = self._request_open
        self._request_bytes += len(data)
        self._hold(len(data))
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError as error:
            rejection = error.__context__
            self._reject(rejection.response if isinstance(rejection, RequestRejected) else MALFORMED)
            return
        limits, others = self._limits, self._open_connections
        if not self._request_open:
            self._request_bytes = 0
            self._stop_timer()
            self._release_if_idle()
        elif self._request_bytes > (limits.max_request_bytes if self._headers_complete else limits.max_head_bytes):
            self._reject(TOO_LARGE)
        elif not was_open:
            self._stop_timer()
            self._timer = self.loop.call_later(limits.request_timeout_seconds, self._reject, TIMED_OUT)
        is_waiting = self._request_open or self.pipeline  # one complete request is never rejected
        is_large = self._held_bytes > limits.max_held_bytes_per_connection
        if is_waiting and is_large and others.held_bytes > limits.max_held_bytes:
            self._reject(OVERLOADED)

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

    def on_message_begin(self) -> None:
        """Begin a request. Raises RequestRejected."""
        if len(self.pipeline) >= self._limits.max_pipelined_requests:
            raise RequestRejected
        self._request_open, self._headers_complete = True, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header without the white space after its value, which RFC 9112 section 5 permits.

        Raises RequestRejected.
        """
        if len(self.headers) >= self._limits.max_headers:
            raise RequestRejected(TOO_LARGE)
        self._hold(HEADER_OBJECT_BYTES)
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Begin the response, unless the head is parsed again. Raises RequestRejected for CONNECT: it has no path."""
        if self.parser.get_method() == b"CONNECT":
            raise RequestRejected
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self._headers_complete = True

    def on_message_complete(self) -> None:
        """End the request, unless its head is parsed again."""
        if not self.parser.should_upgrade():
            super().on_message_complete()
            self._request_open = False
            self._open_connections.idle.pop(self, None)

    def on_response_complete(self) -> None:
        """Mark the connection as idle; close it after the last response to a client that sends no more."""
        super().on_response_complete()
        if self in self.connections:
            self._open_connections.idle[self] = None
        self._release_if_idle()
        if self._input_ended and not self._is_responding and not self.transport.is_closing():
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open until every complete request is answered. Returns whether it stays open."""
        self._input_ended = True
        return self._is_responding

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

    @property
    def _is_responding(self) -> bool:
        """Whether a complete request has no complete response yet."""
        return bool(self.pipeline) or (
            self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        )

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._open_connections.held_bytes += size

    def _release_if_idle(self) -> None:
        if not self._request_open and not self._is_responding:
            self._hold(-self._held_bytes)

    def _reject(self, response: bytes) -> None:
        """Close the connection, with a response unless the client would take it for that of an earlier request.

        Without one the connection is aborted, because a client that does not read would keep it open.
        """
        if self.transport.is_closing():
            return
        if self._request_open and self._headers_complete:
            may_respond = not self.pipeline and not self.cycle.response_started
        else:
            may_respond = self.cycle is None or self.cycle.response_complete
        if may_respond:
            self.transport.write(response)
            self.transport.close()
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
