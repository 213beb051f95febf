"""Queue recovery: drains ThingSpace's queue after a start, after a rejected callback, and at an interval.

ThingSpace does not deliver queued messages automatically. Among replicas on one store, only the one with the leader
lease runs recovery and logs in. A rejected login stops recovery until the settings have other credentials, because five
failed logins lock the user. All runs are in one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, NamedTuple, TypeVar

from thingspace_provider.listener.ingest.group_commit import GroupCommitter, NotStored
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.recovery import queue_drainer
from thingspace_provider.listener.recovery.metrics import COMPLETED, FAILED, SKIPPED, RecoveryMetrics
from thingspace_provider.listener.recovery.schedule import RecoverySchedule
from thingspace_provider.listener.recovery.settings import RecoverySettings
from thingspace_provider.listener.store.base import Store, StoreError
from thingspace_provider.listener.store.duplicates import QueuedDuplicateFinder
from thingspace_provider.listener.store.readiness_check import ReadinessCheck

STORE_TIMEOUT_SECONDS = 20.0  # for one history page
LOOP_MARGIN_SECONDS = 10.0  # added to it, because the event loop can be busy
STORE_RETRY_SECONDS = 0.5
SHUTDOWN_TIMEOUT_SECONDS = 4.0  # for a call in progress and the commit of its messages; supervisors wait 10 s or more
LEADER_POLL_SECONDS = 5.0  # while another replica holds the leader lease
LEADER_LEASE = "recovery"
T = TypeVar("T")


class DueRun(NamedTuple):
    """Account whose queue must be drained now, and how."""

    account: str
    schedule: RecoverySchedule
    drainer: queue_drainer.QueueDrainer
    mode: str


class AccountRecovery(NamedTuple):
    """Recovery of one account. Times are in microseconds after 1970.

    `completed_at` is the start of the last completed run of any replica. The failure is this listener's last run, and
    None after a run that did not fail. `next_run_at` is None while recovery is stopped.
    """

    account: str
    completed_at: int | None
    failed_at: int | None
    error: str | None
    next_run_at: int | None


class QueueRecovery:
    """Recovery of all accounts. Create it in an event loop; `start` starts its thread."""

    def __init__(
        self,
        settings: RecoverySettings,
        group_committer: GroupCommitter,
        readiness_check: ReadinessCheck,
        metrics: RecoveryMetrics,
        store: Store,
    ) -> None:
        self._group_committer = group_committer
        self._readiness_check = readiness_check
        self._metrics = metrics
        self._coordination = store.coordination
        self._duplicate_finder = QueuedDuplicateFinder(store.find)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._condition = threading.Condition()
        self._closing = False
        self._shutdown_deadline = 0.0
        self._uncommitted = 0  # messages that were read and that ThingSpace can have removed
        self._is_postponed = False
        self._is_leader: Callable[[], bool] = lambda: False
        self._leader_since = math.inf
        self._stopped = False
        metrics.stopped.set_function(lambda: self._stopped)
        metrics.interval.set_function(lambda: self._schedule_seconds[1] if self._schedules else 0)
        self._created_at = time.time_ns() // 1000
        self._oldest_run_at: int | None = None  # None while recovery is off
        self._schedules: dict[str, RecoverySchedule] = {}
        self._failures: dict[str, tuple[int, str]] = {}  # time and error of the last run, if it failed
        self._schedule_seconds = (0.0, 0.0)
        self._credentials: object = None
        self._drainer: queue_drainer.QueueDrainer | None = None
        self._thread = threading.Thread(target=self._run, name="recovery", daemon=True)
        self.apply_settings(settings)

    @property
    def state(self) -> str:
        """`off`, `on`, or `stopped` after a rejected login."""
        return "off" if self._drainer is None else "stopped" if self._stopped else "on"

    def accounts(self) -> list[AccountRecovery]:
        """Return the recovery of each account. Reads the store; call it in a thread. Raises StoreError."""
        with self._condition:
            due, failures = {name: schedule.due for name, schedule in self._schedules.items()}, dict(self._failures)
        offset_seconds = time.time() - time.monotonic()
        accounts = []
        for account, seconds in due.items():
            completed_at = self._coordination.get_value(f"recovery_run {account}") or None
            failed_at, error = failures.get(account, (None, None))
            next_run_at = None if self._stopped else round((seconds + offset_seconds) * 1e6)
            accounts.append(AccountRecovery(account, completed_at, failed_at, error, next_run_at))
        return accounts

    async def refresh_metrics(self) -> None:
        """Set the age of the last run. An account without a run counts from the start of this listener.

        Without a working store, the age is that of the last known run.
        """
        with contextlib.suppress(StoreError):
            accounts = await asyncio.to_thread(self.accounts)
            self._oldest_run_at = min((account.completed_at or self._created_at for account in accounts), default=None)
        age = 0.0 if self._oldest_run_at is None else time.time() - self._oldest_run_at / 1e6
        self._metrics.run_age.set(max(age, 0.0))

    def start(self) -> None:
        """Start the thread. Call it when the listener accepts callbacks."""
        self._thread.start()

    def request_run(self, account: str | None = None) -> None:
        """Request a run for an account, None for all: a message can be in the queue."""
        with self._condition:
            for name in self._schedules if account is None else self._schedules.keys() & {account}:
                self._schedules[name].request(time.monotonic())
            self._condition.notify()

    def apply_settings(self, settings: RecoverySettings) -> None:
        """Apply other settings. Raises InvalidSettings, and then changes nothing."""
        credentials = queue_drainer.resolve_credentials(settings)
        with self._condition:
            if credentials != self._credentials:
                self._credentials, self._drainer, self._stopped = credentials, None, False
                if credentials:
                    self._drainer = queue_drainer.QueueDrainer(
                        credentials, self._coordination, self._check_allowed, self._store_durably
                    )
            schedule_seconds = (settings.recovery_delay_seconds, settings.recovery_interval_seconds)
            previous = self._schedules if schedule_seconds == self._schedule_seconds else {}
            self._schedules = {
                account: previous.get(account) or RecoverySchedule(*schedule_seconds, time.monotonic())
                for account in (settings.accounts if credentials else ())
            }
            self._settings, self._schedule_seconds = settings, schedule_seconds
            self._condition.notify()

    async def close(self) -> None:
        """End the thread within seconds, after the commit of all messages that were read."""
        with self._condition:
            self._closing, self._shutdown_deadline = True, time.monotonic() + SHUTDOWN_TIMEOUT_SECONDS
            self._condition.notify()
        if self._thread.is_alive():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), SHUTDOWN_TIMEOUT_SECONDS)
        if self._uncommitted:
            json_log.log_event("recovery_messages_uncommitted", logging.ERROR, messages=self._uncommitted)

    def _run(self) -> None:
        while (due := self._wait_for_next()) is not None:
            try:
                self._run_once(due)
                self._failures.pop(due.account, None)
            except Exception as error:  # noqa: BLE001, PERF203  the thread must survive any error
                self._handle_failure(due, error)
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(self._ended.set)

    def _wait_for_next(self) -> DueRun | None:
        """Wait for the next due run. Return None at the end."""
        with self._condition:
            while not self._closing:
                account = min(self._schedules, key=lambda name: self._schedules[name].due, default=None)
                if account is None or self._drainer is None or self._stopped:
                    self._condition.wait()
                elif (wait_seconds := self._schedules[account].due - time.monotonic()) > 0:
                    self._condition.wait(wait_seconds)
                else:
                    return DueRun(account, self._schedules[account], self._drainer, self._settings.recovery_mode)
        return None

    def _run_once(self, due: DueRun) -> None:
        """Drain the queue, unless another replica does or has done so since the request."""
        account, schedule = due.account, due.schedule
        with self._coordination.leader_lease(LEADER_LEASE) as self._is_leader:
            if not self._is_leader():
                self._postpone_for_leader(schedule)
                return
            self._leader_since = math.inf
            started, now_us = time.monotonic(), self._coordination.now()
            last_run_us = self._coordination.get_value(f"recovery_run {account}")
            # A time in the future is ignored: the clock was set back.
            last_run = started - (now_us - last_run_us) / 1e6 if last_run_us <= now_us else -math.inf
            if last_run >= schedule.satisfied_after:
                self._update_schedule(schedule.completed, last_run, started)
                self._metrics.record_run(SKIPPED)
            elif last_run > started - schedule.min_interval:
                self._update_schedule(schedule.postpone, started, last_run + schedule.min_interval - started)
            else:
                message_count = due.drainer.drain(account, due.mode)
                self._update_schedule(schedule.completed, started, time.monotonic())
                self._metrics.record_run(COMPLETED, message_count)
                json_log.log_event("recovery_completed", account=account, mode=due.mode, messages=message_count)
                with contextlib.suppress(StoreError):  # then another replica repeats the run
                    self._coordination.set_value(f"recovery_run {account}", now_us)

    def _postpone_for_leader(self, schedule: RecoverySchedule) -> None:
        now = time.monotonic()
        self._update_schedule(schedule.postpone, now, LEADER_POLL_SECONDS)
        self._leader_since = min(self._leader_since, now)
        if now - self._leader_since >= self._schedule_seconds[1]:
            held_seconds = round(now - self._leader_since)
            json_log.log_event("recovery_lease_held_by_replica", logging.WARNING, held_seconds=held_seconds)
            self._leader_since = now

    def _handle_failure(self, due: DueRun, error: Exception) -> None:
        now = time.monotonic()
        if self._closing:
            return
        if isinstance(error, NotStored | StoreError):  # ThingSpace is not the cause
            self._update_schedule(due.schedule.postpone, now)
            if not self._is_postponed:
                json_log.log_event("recovery_postponed", error=str(error))
            self._is_postponed = True
            return
        self._metrics.record_run(FAILED)
        self._failures[due.account] = time.time_ns() // 1000, str(error)
        fields = {"account": due.account, "error": str(error)}
        if isinstance(error, queue_drainer.CREDENTIAL_ERRORS):
            with self._condition:
                if due.drainer is self._drainer:  # else the credentials have changed during the run
                    self._stopped = True
            json_log.log_event("recovery_stopped", logging.ERROR, **fields)
            return
        if not isinstance(error, queue_drainer.ThingSpaceError):
            fields["error"] = repr(error)
        self._update_schedule(due.schedule.failed, now)
        retry_in_seconds = round(due.schedule.due - now)
        json_log.log_event("recovery_failed", logging.WARNING, **fields, retry_in_seconds=retry_in_seconds)

    def _check_allowed(self) -> None:
        """Raise NotStored if a message could not be stored now, or if another replica can be draining the queue."""
        if self._closing:
            raise NotStored("the listener is stopping")
        if reason := self._run_in_loop(self._readiness_check.not_ready_reason()):
            raise NotStored(reason)
        if not self._is_leader():
            raise NotStored("another listener can hold the leader lease")
        self._is_postponed = False

    def _store_durably(self, callbacks: Sequence[IncomingCallback]) -> None:
        """Store all messages, with retries until the end of the process: ThingSpace can have removed them."""
        self._uncommitted, failing = len(callbacks), False
        while True:
            marked, unmarked = self._mark_duplicates(callbacks)
            try:
                self._run_in_loop(self._store_all(marked))
                break
            except Exception as error:
                if self._closing and time.monotonic() > self._shutdown_deadline:
                    raise
                if not failing:
                    json_log.log_event(
                        "recovery_commit_delayed", logging.ERROR, messages=len(callbacks), error=str(error)
                    )
                failing = True
                time.sleep(STORE_RETRY_SECONDS)
        self._uncommitted = 0
        if failing:
            json_log.log_event("recovery_commit_succeeded", messages=len(callbacks))
        if unmarked:
            json_log.log_event("recovery_duplicates_unmarked", logging.WARNING, messages=len(callbacks), error=unmarked)

    def _mark_duplicates(self, callbacks: Sequence[IncomingCallback]) -> tuple[list[IncomingCallback], str]:
        """Return the callbacks with the originals of duplicates, and the error that prevents it for the others."""
        marked = list(callbacks)
        try:
            for index, incoming in enumerate(callbacks):
                if self._closing:
                    return marked, "the listener is stopping"  # the time is reserved for the commit
                duplicate_of = self._duplicate_finder.find_original(incoming.account, incoming.callback)
                marked[index] = incoming._replace(duplicate_of=duplicate_of)
        except Exception as error:  # noqa: BLE001  no error may prevent the commit
            return marked, str(error)
        return marked, ""

    async def _store_all(self, callbacks: Sequence[IncomingCallback]) -> None:
        await asyncio.gather(*(self._group_committer.store(incoming, STORE_TIMEOUT_SECONDS) for incoming in callbacks))

    def _run_in_loop(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the event loop and return its result. Raises its exceptions, and NotStored if it hangs."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(
                STORE_TIMEOUT_SECONDS + LOOP_MARGIN_SECONDS
            )
        except FutureTimeout:
            raise NotStored("the listener is too busy") from None

    def _update_schedule(self, change: Callable[..., None], *times: float) -> None:
        with self._condition:
            change(*times)
