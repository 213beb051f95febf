"""`/healthz` says that the process lives, `/readyz` that a callback could be stored now, and more to come."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thingspace_provider.listener.recovery.queue_recovery import QueueRecovery
from thingspace_provider.listener.store.readiness_check import Readiness

CACHE_SECONDS = 1.0  # how long a proof counts, so that asking often does not become writing often


class Health:
    """The two questions of an orchestrator."""

    def __init__(self, readiness: Readiness, healer: QueueRecovery) -> None:
        self._readiness = readiness
        self._healer = healer
        self._check: asyncio.Task[str] | None = None
        self._proven = 0.0
        self._problem = ""

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
        if self._check is None or (self._check.done() and now > self._proven + CACHE_SECONDS):
            self._proven = now
            self._check = asyncio.create_task(self._readiness.not_ready_reason())
        problem = await asyncio.shield(self._check)
        if self._problem and not problem:
            self._healer.request_run()  # nobody sent anything here as long as it was not ready
        self._problem = problem
        return JSONResponse({"status": problem or "ok", "healing": self._healer.state}, 503 if problem else 200)
