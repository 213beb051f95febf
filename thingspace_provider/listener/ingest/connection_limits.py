"""Uvicorn's HTTP/1.1 with limits of time, size and number, so that slow, endless and numerous senders cost little.

Without them a connection that sends a byte now and then, or takes no answer, would be held for ever, headers without
end would fill the memory, and idle connections would use up the descriptors so that ThingSpace could not connect. A
request that arrives whole, as ThingSpace's do, needs no timer.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

KEEP_ALIVE_SECONDS = 30  # between two requests, and before the first
REQUEST_TIMEOUT_SECONDS = 2.0  # from a request's first byte to its last
WRITE_TIMEOUT_SECONDS = 10.0  # for a reader to make room for more of an answer
MAX_CONNECTIONS = 12_000
MAX_PIPELINED_REQUESTS = 16  # requests that one connection may have sent before the first is answered
MAX_REQUEST_BYTES = 65_536  # bytes with headers; a body of 8 kB in the smallest chunks fits

REQUEST_TIMEOUT_RESPONSE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
REQUEST_TOO_LARGE_RESPONSE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class PipelineLimitExceeded(Exception):
    """Ends the parser's work on what a connection has sent."""


class ConnectMethodError(Exception):
    """A CONNECT request: it has no path and no body, and this server is no proxy."""


class NoUpgradeProtocol(HttpToolsProtocol):
    """HTTP/1.1 that ignores offers to upgrade the connection, as RFC 9110 section 7.8 permits.

    httptools parses a request that has an `Upgrade` header without its body, and would parse the body as the next
    request (request smuggling). Such a request is parsed a second time without that header.
    """

    def data_received(self, data: bytes) -> None:
        """Parse the bytes of a connection. Every body stays part of its own request."""
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
        """Begin the response, unless the head is parsed again."""
        if self.parser.get_method() == b"CONNECT":
            raise ConnectMethodError
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, unless the head is parsed again."""
        if not self.parser.should_upgrade():
            super().on_message_complete()


class LimitedHttpProtocol(NoUpgradeProtocol):
    """One connection, whose patience ends.

    At `most` connections the one that has gone longest without a whole request makes room for a new one.
    """

    max_connections: ClassVar[int] = MAX_CONNECTIONS
    _idle_connections: ClassVar[dict[LimitedHttpProtocol, None]] = {}  # the eldest first
    _write_timer: asyncio.TimerHandle | None = None
    _timer: asyncio.TimerHandle | None = None
    _request_open = False  # a request has begun and is not complete
    _request_bytes = 0  # of the request that has begun
    _headers_complete = False  # its headers are complete, so that the cycle is its own

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, but not for ever."""
        super().connection_made(transport)
        self._idle_connections[self] = None
        if len(self.connections) > self.max_connections:
            self._evict_oldest_idle()
        self._timer = self.loop.call_later(KEEP_ALIVE_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers with the connection."""
        self._stop_timer()
        self._idle_connections.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a request that is not complete, and give it a time."""
        was_open = self._request_open
        self._request_bytes += len(data)
        super().data_received(data)
        if not self._request_open:
            self._request_bytes = 0
            self._stop_timer()
        elif self._request_bytes > MAX_REQUEST_BYTES:
            self._reject(REQUEST_TOO_LARGE_RESPONSE)
        elif not was_open:
            self._stop_timer()
            self._timer = self.loop.call_later(REQUEST_TIMEOUT_SECONDS, self._reject, REQUEST_TIMEOUT_RESPONSE)

    def on_message_begin(self) -> None:
        """Note the parser's word that a request begins. Uvicorn answers 400 and hangs up when this raises."""
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            raise PipelineLimitExceeded
        self._request_open, self._headers_complete = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that from here on the application answers."""
        super().on_headers_complete()
        self._headers_complete = not self.parser.should_upgrade()

    def on_message_complete(self) -> None:
        """Note the parser's word that a request is whole."""
        super().on_message_complete()
        if not self.parser.should_upgrade():
            self._request_open = False
            self._idle_connections.pop(self, None)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self in self.connections:
            self._idle_connections[self] = None

    def pause_writing(self) -> None:
        """Give whoever does not take the answer a time, too."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the answer is taken, or the connection is lost."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _evict_oldest_idle(self) -> None:
        """Hang up on the eldest of those that are not being answered."""
        oldest = next(iter(self._idle_connections))
        del self._idle_connections[oldest]
        oldest.transport.abort()

    def _reject(self, response: bytes) -> None:
        """Say why, unless an answer has begun already, and hang up."""
        if not self.transport.is_closing():
            if not self._headers_complete or not self.cycle.response_started:
                self.transport.write(response)
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
