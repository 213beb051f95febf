"""Whether a callback could be stored now, and more to come: what `/readyz` says, and what healing waits for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from thingspace_provider.listener.ingest.group_commit import GroupCommitter, NotStored
from thingspace_provider.listener.store.disk_space import Space

SECONDS = 1.8


class Readiness:
    """`folder` is on the disk that must not be full; None where there is none."""

    def __init__(self, inbox: GroupCommitter, space: Space, folder: Path | None) -> None:
        self._inbox = inbox
        self._space = space
        self._folder = folder

    async def not_ready_reason(self) -> str:
        """Write something durably and look at the disk: what is wrong, or ""."""
        try:
            await self._inbox.store(None, SECONDS)
            return await asyncio.to_thread(self._space.shortage, self._folder) if self._folder else ""
        except (NotStored, OSError) as reason:
            return str(reason)
