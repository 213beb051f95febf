"""Brings stored callbacks from the outbox to one sink: at least once, and in order per device.

It takes what is due, delivers the texts of many devices at once and those of one device one after the other, and
notes what became of them. A commit wakes it; without one it looks now and then, because others may have stored too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from thingspace_provider.listener.forwarding.circuit_breaker import CircuitBreaker, growing
from thingspace_provider.listener.forwarding.cloudevents import to_cloudevent
from thingspace_provider.listener.forwarding.metrics import DEAD, DELIVERED, FAILED, SKIPPED, ForwardingMetrics
from thingspace_provider.listener.forwarding.sinks.base import DeliveryError, MessageRejected, Sink, SinkUnavailable
from thingspace_provider.listener.forwarding.sinks.settings import SinkSettings
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.store.base import (
    HEARTBEAT_INTERVAL_SECONDS,
    DeadLettered,
    Delivered,
    Lease,
    Outbox,
    OutboxEntry,
    Outcome,
    RetryLater,
    StoredMessage,
    StoreError,
)

MAX_CONCURRENT_BATCHES = 64  # devices of a sink that are delivered to side by side
BATCH_SIZE = 20  # texts of one device that are taken together
PROBE_CANDIDATES = (
    8  # of which one probes: a text that no sink could digest must not be the only one that is ever tried
)
LEASE_SECONDS = 15.0  # beyond the time of one delivery; what a dead replica had taken waits as long
POLL_INTERVAL_SECONDS = 2.0  # without having been woken
STORE_SECONDS = 1.0  # before a store that failed is asked again
DRAIN_SECONDS = 2.0  # at a stop, for what is under way
INITIAL_BACKOFF_SECONDS, LONGEST_BACK_OFF = 1.0, 300.0

MAX_TRACKED_FAILURES = 100_000  # failures; others may have delivered or discarded what failed here

T = TypeVar("T")


@dataclass(eq=False)
class BatchDelivery:
    """One run that is under way: its claim and place there, until when it is ours, and what became of it so far."""

    claim: Lease
    index: int
    lease_expires_at: float
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def lane(self) -> str:
        """Names the device."""
        return str(self.claim.ordering_keys[self.index])

    @property
    def run(self) -> Sequence[OutboxEntry]:
        """Parcels of one device, in their order."""
        return self.claim.batches[self.index]


class Forwarder:
    """Serves one sink. Made and used in an event loop; `wake` when something was stored."""

    def __init__(
        self,
        settings: SinkSettings,
        sink: Sink,
        outbox: Outbox,
        metrics: ForwardingMetrics,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._sink = sink
        self._outbox = outbox
        self._metrics = metrics
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._awake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], BatchDelivery] = {}
        self._ended: list[BatchDelivery] = []
        self._delivered_count = 0  # how many texts since the start
        self._failed: dict[int, int] = {}  # how many it had taken when a text failed last; the latest failure is last
        self._served = -math.inf
        self._stopping = False
        self.breaker = CircuitBreaker()
        metrics.register_sink(self.name, lambda: self.breaker.is_open)
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look now."""
        self._awake.set()

    def wants(self, stored: StoredMessage) -> bool:
        """Whether the sink is for such a callback."""
        repeats = stored.duplicate_of is not None
        return stored.kind in self._settings.kinds and not (repeats and self._settings.skip_duplicates)

    async def close(self) -> None:
        """Give what is under way a moment, the rest back to the outbox, and let go of the sink."""
        self._stopping = True
        self.wake()
        await self._task

    async def _run(self) -> None:
        failing = False
        while not self._stopping:
            self._awake.clear()
            try:
                await self._send_heartbeat()
                await self._report()
                await self._start_batches()
            except Exception as reason:  # noqa: BLE001  whatever it is, nothing is lost, and this task must go on
                if not failing:
                    json_log.log_event(
                        "the outbox fails: texts wait", logging.ERROR, sink=self.name, reason=str(reason)
                    )
                failing = True
                await asyncio.sleep(STORE_SECONDS)
                continue
            failing = False
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(
                    self._awake.wait(), min(self.breaker.wait() or POLL_INTERVAL_SECONDS, HEARTBEAT_INTERVAL_SECONDS)
                )
        await self._finish()

    async def _send_heartbeat(self) -> None:
        """Say now and then that this listener names the sink: what waits for it is not left over."""
        now = self._loop.time()
        if now >= self._served + HEARTBEAT_INTERVAL_SECONDS:
            await self._in_thread(self._outbox.heartbeat, self.name)
            self._served = now

    async def _start_batches(self) -> None:
        """Take what is due and there is room for, and begin to deliver it."""
        room = self.breaker.permits(MAX_CONCURRENT_BATCHES - len(self._under_way))
        if room < 1:
            return
        probes = self.breaker.is_open
        lease = LEASE_SECONDS + self._settings.timeout_seconds
        until = self._loop.time() + lease
        limit, run = (PROBE_CANDIDATES, 1) if probes else (room, BATCH_SIZE)
        take = partial(self._outbox.acquire, self.name, limit, lease=lease, run=run)
        claim = await self._in_thread(take)
        works = [BatchDelivery(claim, place, until) for place in range(len(claim.batches))]
        if probes and works:
            random.shuffle(works)
            self._ended += works[1:]
        for work in works[:1] if probes else works:
            self.breaker.begin()
            task = asyncio.create_task(self._deliver(work))
            self._under_way[task] = work
            task.add_done_callback(self._end)
        if probes and len(works) > 1:
            await self._report()

    async def _deliver(self, work: BatchDelivery) -> None:
        """One device's texts, one after the other, until one fails."""
        for parcel in work.run:
            if self._loop.time() + self._settings.timeout_seconds > work.lease_expires_at or self._stopping:
                return
            if not self.wants(parcel.stored):
                self._metrics.record_outcome(self.name, SKIPPED)
                work.outcomes.append(Delivered(parcel.stored.id))
                continue
            outcome = await self._attempt(parcel, work.lane)
            if outcome is not None:
                work.outcomes.append(outcome)
            if outcome is None or isinstance(outcome, RetryLater):
                return

    async def _attempt(self, parcel: OutboxEntry, lane: str) -> Outcome | None:
        """Deliver one; None when the sink itself does not work, which counts against no text."""
        number = parcel.stored.id
        try:
            await self._sink.deliver(to_cloudevent(parcel.stored))
        except MessageRejected as reason:
            self._record_success()
            return self._dead_letter(number, str(reason))
        except SinkUnavailable as reason:
            self._record_failure(lane, reason, itself=True)
            self._metrics.record_outcome(self.name, FAILED)
            return None
        except DeliveryError as reason:
            return self._handle_failure(parcel, lane, reason)
        except Exception as reason:  # noqa: BLE001  whatever it is, the texts of other devices must go on
            json_log.LOG.exception("a delivery broke off")
            return self._handle_failure(parcel, lane, DeliveryError(f"the listener failed ({type(reason).__name__})"))
        self._record_success()
        self._delivered_count += 1
        self._failed.pop(number, None)
        self._metrics.record_outcome(self.name, DELIVERED)
        return Delivered(number)

    def _handle_failure(self, parcel: OutboxEntry, lane: str, problem: DeliveryError) -> Outcome | None:
        """It goes to the dead letters when it failed too often and the sink takes others; else it waits."""
        reason, delivery, number = str(problem), parcel.delivery, parcel.stored.id
        was_open = self.breaker.is_open
        self._record_failure(lane, problem, itself=False)
        if was_open:
            self._metrics.record_outcome(self.name, FAILED)
            return None
        # Counted, because clocks differ. What failed before a start, or elsewhere, has to fail here once more.
        took = self._failed.pop(number, self._delivered_count if delivery.attempts else 0)
        if delivery.attempts + 1 >= self._settings.max_attempts and self._delivered_count > took:
            return self._dead_letter(number, reason)
        self._failed[number] = self._delivered_count
        if len(self._failed) > MAX_TRACKED_FAILURES:
            del self._failed[next(iter(self._failed))]
        self._metrics.record_outcome(self.name, FAILED)
        wait = max(growing(delivery.attempts, INITIAL_BACKOFF_SECONDS, LONGEST_BACK_OFF), problem.retry_after_seconds)
        self._loop.call_later(wait, self.wake)
        return RetryLater(number, reason, wait)

    def _dead_letter(self, number: int, reason: str) -> DeadLettered:
        self._metrics.record_outcome(self.name, DEAD)
        json_log.log_event("given up: a dead letter", logging.WARNING, sink=self.name, message=number, reason=reason)
        return DeadLettered(number, reason)

    def _record_success(self) -> None:
        was_open = self.breaker.is_open
        self.breaker.record_success()
        if was_open and not self.breaker.is_open:
            json_log.log_event("the sink works again", sink=self.name)

    def _record_failure(self, lane: str, problem: DeliveryError, *, itself: bool) -> None:
        was_open = self.breaker.is_open
        self.breaker.record_failure(lane, str(problem), itself=itself, after=problem.retry_after_seconds)
        if self.breaker.is_open and not was_open:
            json_log.log_event(
                "the sink does not work: texts wait", logging.WARNING, sink=self.name, reason=str(problem)
            )

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ended.append(self._under_way.pop(task))
        if not self._under_way:
            self.breaker.abandon_probe()
        self.wake()

    async def _report(self) -> None:
        """Note what became of what ended; what cannot be noted now is kept for the next time."""
        claims: dict[int, list[BatchDelivery]] = {}
        for work in self._ended:
            claims.setdefault(work.claim.token, []).append(work)
        for works in claims.values():
            part = works[0].claim.subset(*(work.index for work in works))
            outcomes = [outcome for work in works for outcome in work.outcomes]
            await self._in_thread(self._outbox.record_outcomes, part, outcomes)
            self._ended = [work for work in self._ended if work not in works]

    async def _finish(self) -> None:
        tasks = list(self._under_way)
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._report()
        except StoreError as reason:
            json_log.log_event(
                "what was delivered last is delivered again", logging.ERROR, sink=self.name, reason=str(reason)
            )
        finally:
            await self._sink.close()

    async def _in_thread(self, call: Callable[..., T], *values: object) -> T:
        return await self._loop.run_in_executor(self._threads, call, *values)
