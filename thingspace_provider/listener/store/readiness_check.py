"""Whether a callback could be stored now, and more to come: what `/readyz` says, and what healing waits for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from thingspace_provider.listener.ingest.group_commit import GroupCommitter, NotStored
from thingspace_provider.listener.store.disk_space import MinFreeDiskSpace

WRITE_TIMEOUT_SECONDS = 1.8


class ReadinessCheck:
    """`folder` is on the disk that must not be full; None where there is none."""

    def __init__(
        self, group_committer: GroupCommitter, min_free_space: MinFreeDiskSpace, directory: Path | None
    ) -> None:
        self._group_committer = group_committer
        self._min_free_space = min_free_space
        self._directory = directory

    async def not_ready_reason(self) -> str:
        """Write something durably and look at the disk: what is wrong, or ""."""
        try:
            await self._group_committer.store(None, WRITE_TIMEOUT_SECONDS)
            return await asyncio.to_thread(self._min_free_space.shortage, self._directory) if self._directory else ""
        except (NotStored, OSError) as error:
            return str(error)
