"""ASGI application of the admin endpoints: health, metrics, inbox page, messages and dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from thingspace_provider.listener.admin.deliveries_api import DeliveriesApi
from thingspace_provider.listener.admin.health import Health
from thingspace_provider.listener.admin.inbox_page import InboxPage
from thingspace_provider.listener.admin.messages_api import MessagesApi
from thingspace_provider.listener.admin.status_api import StatusApi


def create_admin_app(
    messages_api: MessagesApi,
    deliveries_api: DeliveriesApi,
    status_api: StatusApi,
    health: Health,
    registry: CollectorRegistry,
    refresh_metrics: Sequence[Callable[[], Awaitable[object]]],
) -> Starlette:
    """Create the application. Each of `refresh_metrics` updates gauges of the registry that are computed on demand."""

    async def show_metrics(request: Request) -> Response:
        del request
        await asyncio.gather(*(refresh() for refresh in refresh_metrics))
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    routes = [
        Route("/", InboxPage(messages_api).show),
        Route("/healthz", health.liveness),
        Route("/readyz", health.readiness),
        Route("/metrics", show_metrics),
        Route("/v1/messages", messages_api.list_messages),
        Route("/v1/messages/{id}", deliveries_api.show_message),
        Route("/v1/message-counts", messages_api.count_messages),
        Route("/v1/status", status_api.show_status),
        Route("/v1/dead-letters", deliveries_api.list_dead_letters),
        Route("/v1/dead-letters/retry", deliveries_api.retry, methods=["POST"]),
        Route("/v1/dead-letters/discard", deliveries_api.discard, methods=["POST"]),
        Route("/v1/dead-letters/{id}/retry", deliveries_api.retry, methods=["POST"]),
        Route("/v1/dead-letters/{id}/discard", deliveries_api.discard, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers=dict.fromkeys((404, 405), _respond_not_found))
    app.router.redirect_slashes = False
    return app


async def _respond_not_found(request: Request, error: Exception) -> Response:
    del request, error
    return PlainTextResponse("not found", 404)
