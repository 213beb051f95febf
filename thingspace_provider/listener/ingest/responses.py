"""Small complete HTTP responses: status, headers and a few bytes."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

PLAIN_TEXT = b"text/plain; charset=utf-8"


class StaticResponse:
    """A complete response, built once and sent many times.

    `close` closes the connection after the response, because the rest of the request is not read.
    """

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        *,
        content_type: bytes = PLAIN_TEXT,
        close: bool = False,
    ) -> None:
        self.status = status
        all_headers = [(b"content-length", str(len(body)).encode()), *headers]
        if body:
            all_headers.append((b"content-type", content_type))
        if close:
            all_headers.append((b"connection", b"close"))
        self._start = {"type": "http.response.start", "status": status, "headers": all_headers}
        self._body = {"type": "http.response.body", "body": body}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        del scope, receive
        await send(self._start)
        await send(self._body)


# The response for everything that does not exist, so that a client cannot tell how close a guess was.
NOT_FOUND = StaticResponse(404, b"not found")
