"""Readiness check: whether the store can accept a callback now. `/readyz` and the queue recovery use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from thingspace_provider.listener.store.disk_space import MinFreeDiskSpace


class ReadinessCheck:
    """Checks that a commit succeeds and that the store's disk has enough free space.

    Args:
        commit_error: makes a test commit; returns why it failed, or "".
        min_free_space: the free space that the disk must have.
        directory: a directory on that disk; None if the store is on another machine.
    """

    def __init__(
        self,
        commit_error: Callable[[], Awaitable[str]],
        min_free_space: MinFreeDiskSpace,
        directory: Path | None,
    ) -> None:
        self._commit_error = commit_error
        self._min_free_space = min_free_space
        self._directory = directory

    async def not_ready_reason(self) -> str:
        """Return why the store accepts no callback, or ""."""
        if commit_error := await self._commit_error():
            return commit_error
        if self._directory is None:
            return ""
        try:
            return await asyncio.to_thread(self._min_free_space.shortage, self._directory)
        except OSError as error:
            return str(error)
