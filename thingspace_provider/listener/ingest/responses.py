"""Answers that are small and complete: status, headers and a few bytes."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

PLAIN_TEXT = b"text/plain; charset=utf-8"


class StaticResponse:
    """One complete answer, made once and sent as often as needed.

    `close` ends the connection after it, for a sender whose further bytes nobody will read.
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
        """Send it, as any ASGI application does."""
        del scope, receive
        await send(self._start)
        await send(self._body)


# The one answer to everything that is not there, so that a stranger cannot tell near from far.
NOT_FOUND = StaticResponse(404, b"not found")
