"""`/healthz` says that the process lives, `/readyz` that a callback could be stored now, and more to come."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thingspace_provider.listener.recovery.queue_recovery import QueueRecovery
from thingspace_provider.listener.store.readiness_check import ReadinessCheck

CACHE_SECONDS = 1.0  # how long a proof counts, so that asking often does not become writing often


class Health:
    """The two questions of an orchestrator."""

    def __init__(self, readiness_check: ReadinessCheck, queue_recovery: QueueRecovery) -> None:
        self._readiness_check = readiness_check
        self._queue_recovery = queue_recovery
        self._check: asyncio.Task[str] | None = None
        self._checked_at = 0.0
        self._not_ready_reason = ""

    async def liveness(self, request: Request) -> Response:
        """200, whatever the store does: a restart would not make it better."""
        del request
        return JSONResponse({"status": "ok"})

    async def readiness(self, request: Request) -> Response:
        """200 when within the last second something could be written and the disk was not full, else 503 and why.

        That healing stopped is said, but texts that come are stored all the same.
        """
        del request
        now = asyncio.get_running_loop().time()
        if self._check is None or (self._check.done() and now > self._checked_at + CACHE_SECONDS):
            self._checked_at = now
            self._check = asyncio.create_task(self._readiness_check.not_ready_reason())
        reason = await asyncio.shield(self._check)
        if self._not_ready_reason and not reason:
            self._queue_recovery.request_run()  # nobody sent anything here as long as it was not ready
        self._not_ready_reason = reason
        return JSONResponse({"status": reason or "ok", "healing": self._queue_recovery.state}, 503 if reason else 200)
