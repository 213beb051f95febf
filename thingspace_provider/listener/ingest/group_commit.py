"""Group commit: whatever waits is stored in one transaction, then all of it is acknowledged.

One thread writes. While it commits, further callbacks gather; the next commit takes them all. So one alone is
stored at once, and under load many share one sync of the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.store.base import IncomingCallback, Store

MAX_PENDING = 20_000  # callbacks that may wait; a carrier that sends more is asked to come again


class NotStored(Exception):
    """It is not known to be stored: the store failed, is too slow, or too much waits. Come again."""


@dataclass(eq=False)
class PendingCommit:
    """One who waits for a commit; without an arrival, for the proof that a commit is possible."""

    incoming: IncomingCallback | None
    future: asyncio.Future[None]


class GroupCommitter:
    """The only way into the store. Made and used in an event loop; `close` ends its thread."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._metrics.commit_queue_length.set_function(lambda: self._pending)
        self._store_error = ""
        self.on_commit: Callable[[], None] = _no_listener  # called in the loop after each commit
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[PendingCommit | None] = SimpleQueue()
        self._pending = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="inbox")
        self._thread.start()

    async def store(self, incoming: IncomingCallback | None, timeout_seconds: float) -> None:
        """Return when it is on disk, at most after `seconds`. Raises Refused.

        What was refused for lack of time may still be stored, if its commit had begun: then it comes twice.
        """
        if self._closed:
            raise NotStored("the listener is stopping")
        if self._pending >= MAX_PENDING:
            raise NotStored(f"{MAX_PENDING} callbacks wait already")
        future = self._loop.create_future()
        self._pending += 1
        timer = self._loop.call_later(timeout_seconds, _time_out, future)
        self._queue.put(PendingCommit(incoming, future))
        try:
            await future
        finally:
            timer.cancel()
            self._pending -= 1

    def close(self) -> None:
        """Store what waits, then end the thread. Call it after the last request was answered."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        self._store.run_maintenance()
        stopping = False
        while not stopping:
            batch = [self._queue.get()]
            with contextlib.suppress(Empty):
                while len(batch) < self._store.max_batch_size:
                    batch.append(self._queue.get_nowait())
            stopping = None in batch
            pending = [commit for commit in batch if commit is not None and not commit.future.done()]
            if pending:
                self._commit(pending)

    def _commit(self, pending: list[PendingCommit]) -> None:
        error_message, started, on_commit = "", time.monotonic(), _no_listener
        try:
            callbacks = [commit.incoming for commit in pending if commit.incoming is not None]
            if callbacks:
                self._store.append(callbacks)
                on_commit = self.on_commit
                self._metrics.record_commit(len(callbacks), time.monotonic() - started)
            else:
                self._store.check_writable()
        except Exception as error:  # noqa: BLE001  whatever it is, this thread must go on and nobody be told "stored"
            error_message = f"the store failed: {error}"
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, pending, error_message, on_commit)
        self._log_store_state(error_message)
        self._store.run_maintenance()

    def _log_store_state(self, error_message: str) -> None:
        """Once when it begins to fail, once when it works again."""
        if error_message and not self._store_error:
            json_log.log_event("the store fails: callbacks are refused", logging.ERROR, reason=error_message)
        if self._store_error and not error_message:
            json_log.log_event("the store works again")
        self._store_error = error_message


def _no_listener() -> None:
    """Nobody is to be told."""


def _resolve(pending: list[PendingCommit], error_message: str, on_commit: Callable[[], None]) -> None:
    for commit in pending:
        if not commit.future.done():
            if error_message:
                commit.future.set_exception(NotStored(error_message))
            else:
                commit.future.set_result(None)
    on_commit()


def _time_out(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(NotStored("the store is too slow"))
