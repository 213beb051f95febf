"""ASGI application of the listener: routes requests to the callback endpoint and to the admin endpoints."""

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
from thingspace_provider.listener.ingest.callback_endpoint import PATH_PREFIX, CallbackEndpoint
from thingspace_provider.listener.observability.metrics import MetricsEndpoint


class ListenerApp:
    """Passes callbacks directly to the callback endpoint, and all other requests to Starlette."""

    def __init__(
        self,
        callback_endpoint: CallbackEndpoint,
        messages_api: MessagesApi,
        deliveries_api: DeliveriesApi,
        health: Health,
        metrics: MetricsEndpoint,
    ) -> None:
        self._callback_endpoint = callback_endpoint
        routes = [
            Route("/", InboxPage(messages_api).show),
            Route("/healthz", health.liveness),
            Route("/readyz", health.readiness),
            Route("/metrics", metrics.show),
            Route("/v1/messages", messages_api.list_messages),
            Route("/v1/messages/{id}", deliveries_api.show_message),
            Route("/v1/dead-letters", deliveries_api.list_dead_letters),
            Route("/v1/dead-letters/retry", deliveries_api.retry, methods=["POST"]),
            Route("/v1/dead-letters/discard", deliveries_api.discard, methods=["POST"]),
            Route("/v1/dead-letters/{id}/retry", deliveries_api.retry, methods=["POST"]),
            Route("/v1/dead-letters/{id}/discard", deliveries_api.discard, methods=["POST"]),
        ]
        exception_handlers = dict.fromkeys((404, 405), _not_found)
        self._router = Starlette(routes=routes, exception_handlers=exception_handlers)
        self._router.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith(PATH_PREFIX):
            await self._callback_endpoint(scope, receive, send)
        else:
            await self._router(scope, receive, send)


async def _not_found(request: Request, error: Exception) -> Response:
    """Respond as the callback endpoint's NOT_FOUND."""
    del request, error
    return PlainTextResponse("not found", 404)
