"""Forwarder: delivers the outbox entries of one sink, at least once and in order for each device.

Devices are delivered to concurrently, the messages of one device one after the other. A commit notifies the forwarder.
It also polls, because replicas store messages too.
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
from thingspace_provider.listener.model import OutboxEntry, StoredMessage
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.store.base import (
    HEARTBEAT_INTERVAL_SECONDS,
    DeadLettered,
    Delivered,
    Lease,
    Outbox,
    Outcome,
    RetryLater,
    StoreError,
)

MAX_CONCURRENT_BATCHES = 64
BATCH_SIZE = 20
PROBE_CANDIDATES = 8  # one is chosen, so that a message which the sink never accepts cannot be every probe delivery
LEASE_MARGIN_SECONDS = 15.0  # added to the timeout of one delivery; entries of a dead replica wait as long
POLL_INTERVAL_SECONDS = 2.0
STORE_RETRY_SECONDS = 1.0
SHUTDOWN_GRACE_SECONDS = 2.0
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 300.0
MAX_TRACKED_FAILURES = 100_000  # bounds the memory: a replica can deliver messages that failed here

T = TypeVar("T")


@dataclass(eq=False)
class BatchDelivery:
    """Delivery of one batch of a lease, with its outcomes so far."""

    lease: Lease
    index: int
    lease_expires_at: float
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def batch(self) -> Sequence[OutboxEntry]:
        """Entries of one device in their order."""
        return self.lease.batches[self.index]


class Forwarder:
    """Delivers to one sink from its creation in an event loop until `close`."""

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
        self._delivered_count = 0  # since the start
        self._failures: dict[int, int] = {}  # message id: `_delivered_count` at its latest failure; latest is last
        self._last_heartbeat = -math.inf
        self._stopping = False
        self.breaker = CircuitBreaker()
        metrics.register_sink(self.name, lambda: self.breaker.is_open)
        self._task = asyncio.create_task(self._run())

    def notify(self) -> None:
        """Look for outbox entries now."""
        self._notified.set()

    def accepts(self, message: StoredMessage) -> bool:
        """Return whether the sink receives this kind of message, and duplicates if it is one."""
        is_skipped = message.duplicate_of is not None and self._settings.duplicates == "skip"
        return message.kind in self._settings.message_kinds and not is_skipped

    async def close(self) -> None:
        """Wait a moment for deliveries in flight, return the other entries to the outbox, and close the sink."""
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
            except Exception as error:  # noqa: BLE001  this task must survive any error; the entries stay in the outbox
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
        """Show replicas and commands that a listener serves this sink."""
        now = self._loop.time()
        if now >= self._last_heartbeat + HEARTBEAT_INTERVAL_SECONDS:
            await self._run_in_thread(self._outbox.heartbeat, self.name)
            self._last_heartbeat = now

    async def _start_batches(self) -> None:
        """Lease as many batches as the circuit breaker and the concurrency permit, and start their deliveries."""
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
        if is_probing:
            random.shuffle(deliveries)
            self._finished += deliveries[1:]  # returns them to the outbox
            del deliveries[1:]
        for delivery in deliveries:
            self.breaker.record_start()
            task = asyncio.create_task(self._deliver(delivery))
            self._in_flight[task] = delivery
            task.add_done_callback(self._on_finished)
        if is_probing and self._finished:
            await self._record_outcomes()

    async def _deliver(self, delivery: BatchDelivery) -> None:
        """Deliver the entries of a batch until the first failure, the end of the lease, or the stop."""
        for entry in delivery.batch:
            if self._loop.time() + self._settings.timeout_seconds > delivery.lease_expires_at or self._stopping:
                return
            outcome = await self._attempt(entry, str(delivery.lease.ordering_keys[delivery.index]))
            if outcome is not None:
                delivery.outcomes.append(outcome)
            if outcome is None or isinstance(outcome, RetryLater):
                return

    async def _attempt(self, entry: OutboxEntry, ordering_key: str) -> Outcome | None:
        """Deliver one entry. Return None if the sink is unavailable: then the attempt does not count."""
        message_id, attempts = entry.message.id, entry.delivery.attempts + 1
        if not self.accepts(entry.message):
            self._metrics.record_outcome(self.name, SKIPPED)
            return Delivered(message_id)
        try:
            await self._sink.deliver(to_cloudevent(entry.message))
        except MessageRejected as error:
            self._record_success()
            return self._dead_letter(message_id, attempts, str(error))
        except DeliveryError as error:
            return self._handle_failure(message_id, attempts, ordering_key, error)
        except Exception as error:  # noqa: BLE001  the messages of other devices must not stop
            fields = {"sink": self.name, "message_id": message_id}
            json_log.LOGGER.exception("delivery_crashed", extra={"fields": fields})
            failure = DeliveryError(f"the listener failed ({type(error).__name__})")
            return self._handle_failure(message_id, attempts, ordering_key, failure)
        self._record_success()
        self._delivered_count += 1
        self._failures.pop(message_id, None)
        self._metrics.record_outcome(self.name, DELIVERED)
        return Delivered(message_id)

    def _handle_failure(
        self, message_id: int, attempts: int, ordering_key: str, error: DeliveryError
    ) -> Outcome | None:
        """Return a dead letter after `maxAttempts` if the sink accepts other messages, else a retry."""
        sink_wide, was_open = isinstance(error, SinkUnavailable), self.breaker.is_open
        if self.breaker.record_failure(
            ordering_key, str(error), sink_wide=sink_wide, retry_after_seconds=error.retry_after_seconds
        ):
            json_log.log_event("circuit_breaker_opened", logging.WARNING, sink=self.name, error=str(error))
        if sink_wide or was_open:
            self._metrics.record_outcome(self.name, FAILED)
            return None
        # Compares counts, because clocks differ. A message that failed before the start must fail once more.
        delivered_before = self._failures.pop(message_id, self._delivered_count if attempts > 1 else 0)
        if attempts >= self._settings.max_attempts and self._delivered_count > delivered_before:
            return self._dead_letter(message_id, attempts, str(error))
        self._failures[message_id] = self._delivered_count
        if len(self._failures) > MAX_TRACKED_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._metrics.record_outcome(self.name, FAILED)
        backoff = exponential_backoff(attempts - 1, INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        delay_seconds = max(backoff, error.retry_after_seconds)
        self._loop.call_later(delay_seconds, self.notify)
        return RetryLater(message_id, str(error), delay_seconds)

    def _dead_letter(self, message_id: int, attempts: int, error: str) -> DeadLettered:
        self._metrics.record_outcome(self.name, DEAD_LETTER)
        fields = {"sink": self.name, "message_id": message_id, "attempts": attempts, "error": error}
        json_log.log_event("message_dead_lettered", logging.WARNING, **fields)
        return DeadLettered(message_id, error)

    def _record_success(self) -> None:
        if self.breaker.record_success():
            json_log.log_event("circuit_breaker_closed", sink=self.name)

    def _on_finished(self, task: asyncio.Task[None]) -> None:
        self._finished.append(self._in_flight.pop(task))
        if not self._in_flight:
            self.breaker.abandon_probe()
        self.notify()

    async def _record_outcomes(self) -> None:
        """Record the outcomes of all finished batches. After a store error, they stay for the next call."""
        by_token: dict[int, list[BatchDelivery]] = {}
        for delivery in self._finished:
            by_token.setdefault(delivery.lease.token, []).append(delivery)
        for deliveries in by_token.values():
            lease = deliveries[0].lease.subset(*(delivery.index for delivery in deliveries))
            outcomes = [outcome for delivery in deliveries for outcome in delivery.outcomes]
            await self._run_in_thread(self._outbox.record_outcomes, lease, outcomes)
            self._finished = [delivery for delivery in self._finished if delivery not in deliveries]

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
