"""Group commit: one transaction stores all waiting callbacks, then all of them are acknowledged.

One thread writes. While it commits, callbacks wait, and the next commit stores all of them. So a single callback is
stored at once, and under load many callbacks share one sync of the disk. The event loop passes a whole batch to the
thread, because two threads that wake each other for each callback compete for the interpreter lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from thingspace_provider.listener.ingest.metrics import IngestMetrics
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.store.base import Store

MAX_PENDING = 20_000  # callbacks; more are rejected, and ThingSpace queues them
CHECK_TIMEOUT_SECONDS = 1.8


class NotStored(Exception):
    """The callback is not known to be stored: the store failed or is too slow, or too many callbacks wait."""


@dataclass(eq=False)
class PendingCommit:
    """A callback that waits for a commit; without a callback, a check whether a commit is possible."""

    incoming: IncomingCallback | None
    future: asyncio.Future[None]


class GroupCommitter:
    """Writes every message of this process. Create and use it in an event loop; `close` ends its thread.

    `on_commit` is called in the event loop after each commit.
    """

    def __init__(self, store: Store, metrics: IngestMetrics, on_commit: Callable[[], None]) -> None:
        self._store = store
        self._metrics = metrics
        self._metrics.commit_queue_length.set_function(lambda: self._pending)
        self._store_error = ""
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._batches: SimpleQueue[list[PendingCommit] | None] = SimpleQueue()
        self._waiting: list[PendingCommit] = []
        self._is_committing = False  # or about to
        self._pending = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="group-commit")
        self._thread.start()

    async def store(self, incoming: IncomingCallback, timeout_seconds: float) -> None:
        """Return when the callback is on disk. Raises NotStored, at the latest after the timeout.

        A callback that timed out is stored nevertheless if its commit had begun. Its redelivery is a duplicate.
        """
        await self._commit_one(incoming, timeout_seconds)
        self._metrics.record_stored(incoming.callback.kind)

    async def commit_error(self) -> str:
        """Make a test commit. Returns why it failed, or ""."""
        try:
            await self._commit_one(None, CHECK_TIMEOUT_SECONDS)
        except NotStored as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Store all pending callbacks, then end the thread. Call it after the last request was answered."""
        self._closed = True
        while self._waiting:
            self._start_commit()
        self._batches.put(None)
        self._thread.join()

    async def _commit_one(self, incoming: IncomingCallback | None, timeout_seconds: float) -> None:
        if self._closed:
            raise NotStored("the listener is stopping")
        if self._pending >= MAX_PENDING:
            raise NotStored(f"{MAX_PENDING} callbacks already wait for the store")
        future = self._loop.create_future()
        self._pending += 1
        timer = self._loop.call_later(timeout_seconds, _time_out, future)
        self._waiting.append(PendingCommit(incoming, future))
        if not self._is_committing:
            self._is_committing = True
            self._loop.call_soon(self._start_commit)  # with the callbacks that the loop has already received
        try:
            await future
        finally:
            timer.cancel()
            self._pending -= 1

    def _start_commit(self) -> None:
        """Pass waiting callbacks to the thread. Runs in the event loop."""
        waiting = [commit for commit in self._waiting if not commit.future.done()]
        batch, self._waiting = waiting[: self._store.max_batch_size], waiting[self._store.max_batch_size :]
        self._is_committing = bool(batch)
        if batch:
            self._batches.put(batch)

    def _write(self) -> None:
        self._store.run_maintenance()
        while (batch := self._batches.get()) is not None:
            self._commit(batch)

    def _commit(self, pending: list[PendingCommit]) -> None:
        error_message, started = "", time.monotonic()
        callbacks = [commit.incoming for commit in pending if commit.incoming is not None]
        try:
            if callbacks:
                self._store.append(callbacks)
                self._metrics.record_commit(len(callbacks), time.monotonic() - started)
            else:
                self._store.check_writable()
        except Exception as error:  # noqa: BLE001  the writer thread must survive, and no caller be acknowledged
            error_message = f"the store failed: {error}"
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it every caller
            self._loop.call_soon_threadsafe(self._resolve, pending, error_message)
        self._log_store_state(error_message)
        self._store.run_maintenance()

    def _resolve(self, pending: list[PendingCommit], error_message: str) -> None:
        """Start the next commit, and acknowledge or reject the callers. Runs in the event loop."""
        self._start_commit()
        for commit in pending:
            if commit.future.done():
                continue
            if error_message:
                commit.future.set_exception(NotStored(error_message))
            else:
                commit.future.set_result(None)
        if not error_message and any(commit.incoming for commit in pending):
            self._on_commit()

    def _log_store_state(self, error_message: str) -> None:
        """Log the first failure, and the first success after failures."""
        if error_message and not self._store_error:
            json_log.log_event("store_unavailable", logging.ERROR, error=error_message)
        if self._store_error and not error_message:
            json_log.log_event("store_available")
        self._store_error = error_message


def _time_out(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(NotStored("the store is too slow"))
