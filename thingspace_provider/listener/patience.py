"""Uvicorn's HTTP/1.1 with limits of time and size on a request, so that a slow or endless sender costs nothing.

Without them a connection that sends a byte now and then would be held for ever, and headers without end would fill
the memory. A request that arrives whole, as ThingSpace's do, needs no timer.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

IDLE_SECONDS = 30  # between two requests, and before the first
REQUEST_SECONDS = 2.0  # from a request's first byte to its last
LARGEST_REQUEST = 65_536  # bytes with headers; a body of 8 kB in the smallest chunks fits

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """One connection, whose patience ends."""

    _timer: asyncio.TimerHandle | None = None
    _within = False  # a request has begun and is not complete
    _bytes = 0  # of the request that has begun
    _routed = False  # its headers are complete, so that the cycle is its own

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, but not for ever."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(IDLE_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer with the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a request that is not complete, and give it a time."""
        was_within = self._within
        self._bytes += len(data)
        super().data_received(data)
        if not self._within:
            self._bytes = 0
            self._stop_timer()
        elif self._bytes > LARGEST_REQUEST:
            self._refuse(TOO_LARGE)
        elif not was_within:
            self._stop_timer()
            self._timer = self.loop.call_later(REQUEST_SECONDS, self._refuse, TOO_SLOW)

    def on_message_begin(self) -> None:
        """Note the parser's word that a request begins."""
        self._within, self._routed = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that from here on the application answers."""
        super().on_headers_complete()
        self._routed = True

    def on_message_complete(self) -> None:
        """Note the parser's word that a request is whole."""
        self._within = False
        super().on_message_complete()

    def _refuse(self, answer: bytes) -> None:
        """Say why, unless an answer has begun already, and hang up."""
        if not self.transport.is_closing():
            if not self._routed or not self.cycle.response_started:
                self.transport.write(answer)
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
