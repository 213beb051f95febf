"""Health endpoints: liveness (`/healthz`) and readiness (`/readyz`)."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Gauge
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thingspace_provider.listener.recovery.queue_recovery import QueueRecovery
from thingspace_provider.listener.store.readiness_check import ReadinessCheck

CACHE_SECONDS = 1.0


class Health:
    """Liveness and readiness. A readiness check is cached, so that frequent requests do not write to the disk."""

    def __init__(
        self,
        readiness_check: ReadinessCheck,
        queue_recovery: QueueRecovery,
        registry: CollectorRegistry,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._readiness_check = readiness_check
        self._queue_recovery = queue_recovery
        self._cache_seconds = cache_seconds
        self._check: asyncio.Task[str] | None = None
        self._checked_at = 0.0
        self._not_ready_reason = ""
        self._has_failed_reload = False
        self._ready = Gauge("thingspace_ready", "1 if callbacks can be stored, as /readyz, else 0.", registry=registry)
        self._reload_failed = Gauge(
            "thingspace_settings_reload_failed",
            "1 after a failed reload, until one succeeds, else 0.",
            registry=registry,
        )

    def record_reload(self, *, succeeded: bool) -> None:
        """Record the result of a settings reload."""
        self._has_failed_reload = not succeeded
        self._reload_failed.set(not succeeded)

    async def liveness(self, request: Request) -> Response:
        """Respond with 200. The store does not matter, because a restart would not repair it."""
        del request
        return JSONResponse({"status": "ok"})

    async def readiness(self, request: Request) -> Response:
        """Respond with 200 if a recent commit succeeded and the disk has enough free space, else with 503.

        A stopped recovery or a failed settings reload does not affect the status, because callbacks are stored
        nevertheless.
        """
        del request
        content = await self.check()
        return JSONResponse(content, 503 if content["reason"] else 200)

    async def check(self) -> dict[str, str]:
        """Return status, reason, and the states of recovery and settings. Sets the metric."""
        now = asyncio.get_running_loop().time()
        if self._check is None or (self._check.done() and now > self._checked_at + self._cache_seconds):
            self._checked_at = now
            self._check = asyncio.create_task(self._readiness_check.not_ready_reason())
        reason = await asyncio.shield(self._check)
        if self._not_ready_reason and not reason:
            self._queue_recovery.request_run()  # load balancers sent no callbacks while this was not ready
        self._not_ready_reason = reason
        self._ready.set(not reason)
        return {
            "status": "unavailable" if reason else "ok",
            "reason": reason,
            "recovery": self._queue_recovery.state,
            "settings": "reload_failed" if self._has_failed_reload else "ok",
        }
