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

from thingspace_provider.common.backoff import exponential_backoff
from thingspace_provider.listener.forwarding.circuit_breaker import CircuitBreaker
from thingspace_provider.listener.forwarding.cloudevents import to_cloudevent
from thingspace_provider.listener.forwarding.metrics import DEAD_LETTER, DELIVERED, FAILED, SKIPPED, ForwardingMetrics
from thingspace_provider.listener.forwarding.settings import SinkSettings
from thingspace_provider.listener.forwarding.sinks.base import DeliveryError, MessageRejected, Sink, SinkUnavailable
from thingspace_provider.listener.model import StoredMessage
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
    StoreError,
)

MAX_CONCURRENT_BATCHES = 64  # devices of a sink that are delivered to side by side
BATCH_SIZE = 20  # texts of one device that are taken together
PROBE_CANDIDATES = (
    8  # of which one probes: a text that no sink could digest must not be the only one that is ever tried
)
LEASE_MARGIN_SECONDS = 15.0  # beyond the time of one delivery; what a dead replica had taken waits as long
POLL_INTERVAL_SECONDS = 2.0  # without having been woken
STORE_RETRY_SECONDS = 1.0  # before a store that failed is asked again
SHUTDOWN_GRACE_SECONDS = 2.0  # at a stop, for what is under way
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 300.0

MAX_TRACKED_FAILURES = 100_000  # failures; others may have delivered or discarded what failed here

T = TypeVar("T")


@dataclass(eq=False)
class BatchDelivery:
    """One run that is under way: its claim and place there, until when it is ours, and what became of it so far."""

    lease: Lease
    index: int
    lease_expires_at: float
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def ordering_key(self) -> str:
        """Names the device."""
        return str(self.lease.ordering_keys[self.index])

    @property
    def batch(self) -> Sequence[OutboxEntry]:
        """Parcels of one device, in their order."""
        return self.lease.batches[self.index]


class Forwarder:
    """Serves one sink. Made and used in an event loop; `wake` when something was stored."""

    def __init__(
        self,
        settings: SinkSettings,
        sink: Sink,
        outbox: Outbox,
        metrics: ForwardingMetrics,
        executor: ThreadPoolExecutor,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._sink = sink
        self._outbox = outbox
        self._metrics = metrics
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._notified = asyncio.Event()
        self._in_flight: dict[asyncio.Task[None], BatchDelivery] = {}
        self._finished: list[BatchDelivery] = []
        self._delivered_count = 0  # how many texts since the start
        self._failures: dict[int, int] = {}  # how many it had taken when a text failed last; the latest failure is last
        self._last_heartbeat = -math.inf
        self._stopping = False
        self.breaker = CircuitBreaker()
        metrics.register_sink(self.name, lambda: self.breaker.is_open)
        self._task = asyncio.create_task(self._run())

    def notify(self) -> None:
        """Look now."""
        self._notified.set()

    def accepts(self, message: StoredMessage) -> bool:
        """Whether the sink is for such a callback."""
        is_duplicate = message.duplicate_of is not None
        return message.kind in self._settings.message_kinds and not (
            is_duplicate and self._settings.duplicates == "skip"
        )

    async def close(self) -> None:
        """Give what is under way a moment, the rest back to the outbox, and let go of the sink."""
        self._stopping = True
        self.notify()
        await self._task

    async def _run(self) -> None:
        failing = False
        while not self._stopping:
            self._notified.clear()
            try:
                await self._send_heartbeat()
                await self._record_outcomes()
                await self._start_batches()
            except Exception as error:  # noqa: BLE001  whatever it is, nothing is lost, and this task must go on
                if not failing:
                    json_log.log_event("outbox_unavailable", logging.ERROR, sink=self.name, error=str(error))
                failing = True
                await asyncio.sleep(STORE_RETRY_SECONDS)
                continue
            failing = False
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(
                    self._notified.wait(),
                    min(self.breaker.seconds_until_probe() or POLL_INTERVAL_SECONDS, HEARTBEAT_INTERVAL_SECONDS),
                )
        await self._shut_down()

    async def _send_heartbeat(self) -> None:
        """Say now and then that this listener names the sink: what waits for it is not left over."""
        now = self._loop.time()
        if now >= self._last_heartbeat + HEARTBEAT_INTERVAL_SECONDS:
            await self._run_in_thread(self._outbox.heartbeat, self.name)
            self._last_heartbeat = now

    async def _start_batches(self) -> None:
        """Take what is due and there is room for, and begin to deliver it."""
        permits = self.breaker.permits(MAX_CONCURRENT_BATCHES - len(self._in_flight))
        if permits < 1:
            return
        is_probing = self.breaker.is_open
        lease_seconds = LEASE_MARGIN_SECONDS + self._settings.timeout_seconds
        lease_expires_at = self._loop.time() + lease_seconds
        limit, batch_size = (PROBE_CANDIDATES, 1) if is_probing else (permits, BATCH_SIZE)
        acquire = partial(self._outbox.acquire, self.name, limit, lease_seconds=lease_seconds, batch_size=batch_size)
        lease = await self._run_in_thread(acquire)
        deliveries = [BatchDelivery(lease, index, lease_expires_at) for index in range(len(lease.batches))]
        if is_probing and deliveries:
            random.shuffle(deliveries)
            self._finished += deliveries[1:]
        for delivery in deliveries[:1] if is_probing else deliveries:
            self.breaker.record_start()
            task = asyncio.create_task(self._deliver(delivery))
            self._in_flight[task] = delivery
            task.add_done_callback(self._on_finished)
        if is_probing and len(deliveries) > 1:
            await self._record_outcomes()

    async def _deliver(self, delivery: BatchDelivery) -> None:
        """One device's texts, one after the other, until one fails."""
        for entry in delivery.batch:
            if self._loop.time() + self._settings.timeout_seconds > delivery.lease_expires_at or self._stopping:
                return
            if not self.accepts(entry.message):
                self._metrics.record_outcome(self.name, SKIPPED)
                delivery.outcomes.append(Delivered(entry.message.id))
                continue
            outcome = await self._attempt(entry, delivery.ordering_key)
            if outcome is not None:
                delivery.outcomes.append(outcome)
            if outcome is None or isinstance(outcome, RetryLater):
                return

    async def _attempt(self, entry: OutboxEntry, ordering_key: str) -> Outcome | None:
        """Deliver one; None when the sink itself does not work, which counts against no text."""
        message_id = entry.message.id
        try:
            await self._sink.deliver(to_cloudevent(entry.message))
        except MessageRejected as error:
            self._record_success()
            return self._dead_letter(message_id, entry.delivery.attempts + 1, str(error))
        except SinkUnavailable as error:
            self._record_failure(ordering_key, error, sink_wide=True)
            self._metrics.record_outcome(self.name, FAILED)
            return None
        except DeliveryError as error:
            return self._handle_failure(entry, ordering_key, error)
        except Exception as error:  # noqa: BLE001  whatever it is, the texts of other devices must go on
            json_log.LOGGER.exception("delivery_crashed", extra={"fields": {"sink": self.name}})
            return self._handle_failure(
                entry, ordering_key, DeliveryError(f"the listener failed ({type(error).__name__})")
            )
        self._record_success()
        self._delivered_count += 1
        self._failures.pop(message_id, None)
        self._metrics.record_outcome(self.name, DELIVERED)
        return Delivered(message_id)

    def _handle_failure(self, entry: OutboxEntry, ordering_key: str, error: DeliveryError) -> Outcome | None:
        """It goes to the dead letters when it failed too often and the sink takes others; else it waits."""
        error_message, delivery, message_id = str(error), entry.delivery, entry.message.id
        was_open = self.breaker.is_open
        self._record_failure(ordering_key, error, sink_wide=False)
        if was_open:
            self._metrics.record_outcome(self.name, FAILED)
            return None
        # Counted, because clocks differ. What failed before a start, or elsewhere, has to fail here once more.
        delivered_before = self._failures.pop(message_id, self._delivered_count if delivery.attempts else 0)
        if delivery.attempts + 1 >= self._settings.max_attempts and self._delivered_count > delivered_before:
            return self._dead_letter(message_id, delivery.attempts + 1, error_message)
        self._failures[message_id] = self._delivered_count
        if len(self._failures) > MAX_TRACKED_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._metrics.record_outcome(self.name, FAILED)
        delay_seconds = max(
            exponential_backoff(delivery.attempts, INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS),
            error.retry_after_seconds,
        )
        self._loop.call_later(delay_seconds, self.notify)
        return RetryLater(message_id, error_message, delay_seconds)

    def _dead_letter(self, message_id: int, attempts: int, error: str) -> DeadLettered:
        self._metrics.record_outcome(self.name, DEAD_LETTER)
        json_log.log_event(
            "message_dead_lettered",
            logging.WARNING,
            sink=self.name,
            message_id=message_id,
            attempts=attempts,
            error=error,
        )
        return DeadLettered(message_id, error)

    def _record_success(self) -> None:
        was_open = self.breaker.is_open
        self.breaker.record_success()
        if was_open and not self.breaker.is_open:
            json_log.log_event("circuit_breaker_closed", sink=self.name)

    def _record_failure(self, ordering_key: str, error: DeliveryError, *, sink_wide: bool) -> None:
        was_open = self.breaker.is_open
        self.breaker.record_failure(
            ordering_key, str(error), sink_wide=sink_wide, retry_after_seconds=error.retry_after_seconds
        )
        if self.breaker.is_open and not was_open:
            json_log.log_event("circuit_breaker_opened", logging.WARNING, sink=self.name, error=str(error))

    def _on_finished(self, task: asyncio.Task[None]) -> None:
        self._finished.append(self._in_flight.pop(task))
        if not self._in_flight:
            self.breaker.abandon_probe()
        self.notify()

    async def _record_outcomes(self) -> None:
        """Note what became of what ended; what cannot be noted now is kept for the next time."""
        by_token: dict[int, list[BatchDelivery]] = {}
        for delivery in self._finished:
            by_token.setdefault(delivery.lease.token, []).append(delivery)
        for deliveries in by_token.values():
            lease = deliveries[0].lease.subset(*(work.index for work in deliveries))
            outcomes = [outcome for work in deliveries for outcome in work.outcomes]
            await self._run_in_thread(self._outbox.record_outcomes, lease, outcomes)
            self._finished = [work for work in self._finished if work not in deliveries]

    async def _shut_down(self) -> None:
        tasks = list(self._in_flight)
        if tasks:
            await asyncio.wait(tasks, timeout=SHUTDOWN_GRACE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._record_outcomes()
        except StoreError as error:
            count = sum(len(delivery.outcomes) for delivery in self._finished)
            json_log.log_event("delivery_outcomes_lost", logging.ERROR, sink=self.name, count=count, error=str(error))
        finally:
            await self._sink.close()

    async def _run_in_thread(self, function: Callable[..., T], *values: object) -> T:
        return await self._loop.run_in_executor(self._executor, function, *values)
