"""Readiness check: whether the store can accept a callback now. `/readyz` and the queue recovery use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from thingspace_provider.listener.store.disk_space import MinFreeDiskSpace
from thingspace_provider.listener.store.metrics import DiskMetrics


@dataclass(frozen=True)
class ReadinessCheck:
    """Checks that a commit succeeds and that the store's disk has enough free space.

    Args:
        commit_error: makes a test commit; returns why it failed, or "".
        min_free_space: the free space that the disk must have.
        directory: a directory on that disk; None if the store is on another machine.
        disk_metrics: gauges of that disk.
    """

    commit_error: Callable[[], Awaitable[str]]
    min_free_space: MinFreeDiskSpace
    directory: Path | None
    disk_metrics: DiskMetrics | None = None

    async def not_ready_reason(self) -> str:
        """Return why the store accepts no callback, or ""."""
        if commit_error := await self.commit_error():
            return commit_error
        if self.directory is None:
            return ""
        try:
            space = await asyncio.to_thread(self.min_free_space.measure, self.directory)
        except OSError as error:
            return str(error)
        if self.disk_metrics:
            self.disk_metrics.record(space)
        return space.shortage
