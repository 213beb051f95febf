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

    arrival: IncomingCallback | None
    answer: asyncio.Future[None]


class GroupCommitter:
    """The only way into the store. Made and used in an event loop; `close` ends its thread."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._metrics.waiting.set_function(lambda: self._waiting)
        self._failing = ""
        self.on_commit: Callable[[], None] = _no_listener  # called in the loop after each commit
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[PendingCommit | None] = SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="inbox")
        self._thread.start()

    async def store(self, arrival: IncomingCallback | None, seconds: float) -> None:
        """Return when it is on disk, at most after `seconds`. Raises Refused.

        What was refused for lack of time may still be stored, if its commit had begun: then it comes twice.
        """
        if self._closed:
            raise NotStored("the listener is stopping")
        if self._waiting >= MAX_PENDING:
            raise NotStored(f"{MAX_PENDING} callbacks wait already")
        answer = self._loop.create_future()
        self._waiting += 1
        late = self._loop.call_later(seconds, _time_out, answer)
        self._queue.put(PendingCommit(arrival, answer))
        try:
            await answer
        finally:
            late.cancel()
            self._waiting -= 1

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
                while len(batch) < self._store.batch:
                    batch.append(self._queue.get_nowait())
            stopping = None in batch
            waits = [wait for wait in batch if wait is not None and not wait.answer.done()]
            if waits:
                self._commit(waits)

    def _commit(self, waits: list[PendingCommit]) -> None:
        failure, begun, stored = "", time.monotonic(), _no_listener
        try:
            arrivals = [wait.arrival for wait in waits if wait.arrival is not None]
            if arrivals:
                self._store.append(arrivals)
                stored = self.on_commit
                self._metrics.record_commit(len(arrivals), time.monotonic() - begun)
            else:
                self._store.check_writable()
        except Exception as reason:  # noqa: BLE001  whatever it is, this thread must go on and nobody be told "stored"
            failure = f"the store failed: {reason}"
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, waits, failure, stored)
        self._tell(failure)
        self._store.run_maintenance()

    def _tell(self, failure: str) -> None:
        """Once when it begins to fail, once when it works again."""
        if failure and not self._failing:
            json_log.log_event("the store fails: callbacks are refused", logging.ERROR, reason=failure)
        if self._failing and not failure:
            json_log.log_event("the store works again")
        self._failing = failure


def _no_listener() -> None:
    """Nobody is to be told."""


def _resolve(waits: list[PendingCommit], failure: str, stored: Callable[[], None]) -> None:
    for wait in waits:
        if not wait.answer.done():
            if failure:
                wait.answer.set_exception(NotStored(failure))
            else:
                wait.answer.set_result(None)
    stored()


def _time_out(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_exception(NotStored("the store is too slow"))
