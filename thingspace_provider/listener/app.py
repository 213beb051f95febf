"""The listener as an ASGI application: the carrier's door first, then what people and machines ask."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from thingspace_provider.listener.admin.deliveries_api import Tracing
from thingspace_provider.listener.admin.health import Health
from thingspace_provider.listener.admin.inbox_page import Page
from thingspace_provider.listener.admin.messages_api import Reading
from thingspace_provider.listener.ingest.callback_endpoint import PREFIX, Door
from thingspace_provider.listener.observability.metrics import Metrics


class Listener:
    """Callbacks go straight to the door; everything else through Starlette."""

    def __init__(self, door: Door, reading: Reading, tracing: Tracing, health: Health, metrics: Metrics) -> None:
        self._door = door
        routes = [
            Route("/", Page(reading).show),
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", metrics.show),
            Route("/v1/messages", reading.messages),
            Route("/v1/messages/{id}", tracing.journey),
            Route("/v1/dead-letters", tracing.dead_letters),
            Route("/v1/dead-letters/retry", tracing.retry, methods=["POST"]),
            Route("/v1/dead-letters/discard", tracing.discard, methods=["POST"]),
            Route("/v1/dead-letters/{id}/retry", tracing.retry, methods=["POST"]),
            Route("/v1/dead-letters/{id}/discard", tracing.discard, methods=["POST"]),
        ]
        absent = dict.fromkeys((404, 405), _absent)
        self._rest = Starlette(routes=routes, exception_handlers=absent)
        self._rest.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith(PREFIX):
            await self._door(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


async def _absent(request: Request, reason: Exception) -> Response:
    """The same as the door's NOT_FOUND."""
    del request, reason
    return PlainTextResponse("not found", 404)
