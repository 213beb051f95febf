"""The listener as an ASGI application: the carrier's door first, then what people and machines ask."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from thingspace_provider.listener.admin.deliveries_api import DeliveriesApi
from thingspace_provider.listener.admin.health import Health
from thingspace_provider.listener.admin.inbox_page import InboxPage
from thingspace_provider.listener.admin.messages_api import MessagesApi
from thingspace_provider.listener.ingest.callback_endpoint import PREFIX, CallbackEndpoint
from thingspace_provider.listener.observability.metrics import Metrics


class ListenerApp:
    """Callbacks go straight to the door; everything else through Starlette."""

    def __init__(
        self, door: CallbackEndpoint, reading: MessagesApi, tracing: DeliveriesApi, health: Health, metrics: Metrics
    ) -> None:
        self._door = door
        routes = [
            Route("/", InboxPage(reading).show),
            Route("/healthz", health.liveness),
            Route("/readyz", health.readiness),
            Route("/metrics", metrics.show),
            Route("/v1/messages", reading.messages),
            Route("/v1/messages/{id}", tracing.show_message),
            Route("/v1/dead-letters", tracing.dead_letters),
            Route("/v1/dead-letters/retry", tracing.retry, methods=["POST"]),
            Route("/v1/dead-letters/discard", tracing.discard, methods=["POST"]),
            Route("/v1/dead-letters/{id}/retry", tracing.retry, methods=["POST"]),
            Route("/v1/dead-letters/{id}/discard", tracing.discard, methods=["POST"]),
        ]
        absent = dict.fromkeys((404, 405), _not_found)
        self._rest = Starlette(routes=routes, exception_handlers=absent)
        self._rest.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith(PREFIX):
            await self._door(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


async def _not_found(request: Request, reason: Exception) -> Response:
    """The same as the door's NOT_FOUND."""
    del request, reason
    return PlainTextResponse("not found", 404)
