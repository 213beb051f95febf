"""The endpoint `/metrics`. Each folder declares its metrics; `runtime` registers them in one registry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response


class MetricsEndpoint:
    """Serves a registry in Prometheus' text format. No metric holds an account, a device or a message.

    Args:
        registry: the metrics of this process.
        refresh: updates the gauges that are computed on demand.
    """

    def __init__(self, registry: CollectorRegistry, refresh: Callable[[], Awaitable[None]]) -> None:
        self._registry = registry
        self._refresh = refresh

    async def show(self, request: Request) -> Response:
        """Respond with the current values."""
        del request
        await self._refresh()
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})
