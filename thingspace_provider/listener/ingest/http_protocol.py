"""HTTP/1.1 for the listener: Uvicorn's protocol without its gaps against RFC 9110 and RFC 9112."""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class ConnectMethodError(Exception):
    """A CONNECT request: it has no path and no body, and this server is no proxy."""


class HttpProtocol(HttpToolsProtocol):
    """Connection that ignores upgrade offers, trims header values and answers a half-closed client.

    RFC 9110 section 7.8 permits a server to ignore `Upgrade`. httptools parses a request with that header without
    its body, and would parse the body as the next request (request smuggling). Such a request is parsed a second
    time without the header.
    """

    _input_ended = False  # the client has closed its sending side

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

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header without the white space after its value, which RFC 9112 section 5 permits."""
        super().on_header(name, value.rstrip(b" \t"))

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

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open until every complete request is answered. Returns whether it stays open."""
        self._input_ended = True
        return self._is_responding

    def on_response_complete(self) -> None:
        """Close the connection after the last response to a client that sends no more."""
        super().on_response_complete()
        if self._input_ended and not self._is_responding and not self.transport.is_closing():
            self.transport.close()

    @property
    def _is_responding(self) -> bool:
        """Whether a complete request has no complete response yet."""
        return bool(self.pipeline) or (
            self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        )
