"""Access to control API and page: only from this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class LoopbackOnly:
    """ASGI middleware that rejects requests from another machine or from the page of another site.

    It also rejects other host names, because a site can resolve its own name to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or respond with 403."""
        if scope["type"] == "http" and (reason := rejection_reason(scope)):
            await JSONResponse({"error": reason}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def rejection_reason(scope: Scope) -> str | None:
    """Return why a request is rejected, or `None`."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return "the control API accepts requests from this machine only"
    host = headers.get(b"host", "")
    if not _is_loopback(urlsplit(f"//{host}").hostname or ""):
        return "the control API accepts the hosts 127.0.0.1, localhost and [::1] only"
    origin = headers.get(b"origin")
    if origin is not None and origin != f"http://{host}":
        return "the control API rejects pages of another origin"
    if headers.get(b"sec-fetch-site", "none") not in {"none", "same-origin"}:
        return "the control API rejects pages of another origin"
    return None


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
