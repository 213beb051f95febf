"""Has the queue asked for after a start, after a refusal, and now and then; one question at a time, in one thread.

ThingSpace does not bring what it queued by itself: a text that was refused once would wait for ever. Among replicas
on one store only the one that has the turn asks, and logs in. A refused login ends it until the settings name other
credentials: five in a row would lock the user.
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
from thingspace_provider.listener.observability import json_log
from thingspace_provider.listener.observability.metrics import Metrics
from thingspace_provider.listener.recovery import queue_drainer
from thingspace_provider.listener.recovery.schedule import RecoverySchedule
from thingspace_provider.listener.settings.listener_settings import ListenerSettings
from thingspace_provider.listener.store.base import IncomingCallback, MessageQuery, Store, StoredMessage, StoreError
from thingspace_provider.listener.store.duplicates import QueuedDuplicateFinder
from thingspace_provider.listener.store.readiness_check import Readiness

STORE_SECONDS = 20.0  # for one block; nobody waits for an answer
LOOP_SECONDS = 10.0  # beyond that, for an event loop that is busy
AGAIN_SECONDS = 0.5  # until a block that the store did not take is offered to it again
STOP_SECONDS = 4.0  # for the end of a question, and to store what it brought; a supervisor waits for ten at least
LEADER_POLL_SECONDS = 5.0  # until a listener that has the turn is looked at again
LEADER_LEASE = "healing"
T = TypeVar("T")
STOPPED = "stopped: ThingSpace refused the credentials, see the log"


class DueRun(NamedTuple):
    """An account whose queue is to be asked for, and how."""

    account: str
    schedule: RecoverySchedule
    drainer: queue_drainer.QueueDrainer
    mode: str


class QueueRecovery:
    """Made in the event loop; its thread begins with `start`. `need` and `take_up` take no time."""

    def __init__(
        self, settings: ListenerSettings, inbox: GroupCommitter, readiness: Readiness, metrics: Metrics, store: Store
    ) -> None:
        self._inbox = inbox
        self._readiness = readiness
        self._metrics = metrics
        self._store = store
        self._shared = store.coordination
        self._posted = QueuedDuplicateFinder(self._read)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._changed = threading.Condition()
        self._closing = False
        self._end = 0.0
        self._uncommitted = 0  # texts that were read, and are perhaps nowhere else any more
        self._waits = False
        self._has_turn: Callable[[], bool] = lambda: False
        self._leader_since = math.inf
        self._problem = ""
        self._schedules: dict[str, RecoverySchedule] = {}
        self._times = (0.0, 0.0)
        self._user: object = None
        self._healing: queue_drainer.QueueDrainer | None = None
        self._thread = threading.Thread(target=self._run, name="healing", daemon=True)
        self.apply_settings(settings)

    @property
    def state(self) -> str:
        """Off, on, or that it stopped; without names, because everybody may ask."""
        return "off" if self._healing is None else self._problem or "on"

    def start(self) -> None:
        """Begin: from now on the listener can be reached."""
        self._thread.start()

    def request_run(self, account: str | None = None) -> None:
        """A callback for this account may be in the queue now; None means for any."""
        with self._changed:
            for name in self._schedules if account is None else self._schedules.keys() & {account}:
                self._schedules[name].request(time.monotonic())
            self._changed.notify()

    def apply_settings(self, settings: ListenerSettings) -> None:
        """Go on with other settings. Raises BadSettings, and then nothing is changed."""
        user = queue_drainer.resolve_credentials(settings)
        with self._changed:
            if user != self._user:
                self._user = user
                self._healing = (
                    queue_drainer.QueueDrainer(user, self._shared, self._check_allowed, self._store_durably)
                    if user
                    else None
                )
                self._stop("")
            times = (settings.heal_after_seconds, settings.heal_minutes * 60)
            known = self._schedules if times == self._times else {}
            self._schedules = {
                account: known.get(account) or RecoverySchedule(*times, time.monotonic())
                for account in (settings.accounts if user else ())
            }
            self._settings, self._times = settings, times
            self._changed.notify()

    async def close(self) -> None:
        """End once what was read is stored, within seconds; a question that takes longer is left alone."""
        with self._changed:
            self._closing, self._end = True, time.monotonic() + STOP_SECONDS
            self._changed.notify()
        if self._thread.is_alive():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), STOP_SECONDS)
        if self._uncommitted:
            json_log.log_event(
                "the end came before texts from the queue were stored", logging.ERROR, texts=self._uncommitted
            )

    def _run(self) -> None:
        while (due := self._next()) is not None:
            self._try(due)
        with contextlib.suppress(RuntimeError):  # the loop has ended: it did not wait so long
            self._loop.call_soon_threadsafe(self._ended.set)

    def _try(self, due: DueRun) -> None:
        try:
            self._run_once(due)
        except Exception as reason:  # noqa: BLE001  whatever it is, the thread must go on
            self._failed(due, reason)

    def _next(self) -> DueRun | None:
        """Wait for an account that is due; None at the end."""
        with self._changed:
            while not self._closing:
                account = min(self._schedules, key=lambda name: self._schedules[name].due, default=None)
                if account is None or self._healing is None or self._problem:
                    self._changed.wait()
                elif (wait := self._schedules[account].due - time.monotonic()) > 0:
                    self._changed.wait(wait)
                else:
                    return DueRun(account, self._schedules[account], self._healing, self._settings.heal)
        return None

    def _run_once(self, due: DueRun) -> None:
        """Ask, unless another listener does, has done, or has done a moment ago."""
        account, schedule = due.account, due.schedule
        with self._shared.leader_lease(LEADER_LEASE) as self._has_turn:
            if not self._has_turn():
                self._postpone_for_leader(schedule)
                return
            self._leader_since = math.inf
            begun, moment = time.monotonic(), self._shared.now()
            noted = self._shared.get_value(f"asked {account}")
            asked = begun - (moment - noted) / 1e6 if noted <= moment else -math.inf  # else the clock was set back
            if asked >= schedule.satisfied_after:
                self._set(schedule.completed, asked, begun)
                self._metrics.record_recovery_run("another listener did")
            elif asked > begun - schedule.min_interval:
                self._set(schedule.postpone, begun, asked + schedule.min_interval - begun)
            else:
                texts = due.drainer.drain(account, due.mode)
                self._set(schedule.completed, begun, time.monotonic())
                self._metrics.record_recovery_run("done", texts)
                json_log.log_event("asked for queued texts", account=account, by=due.mode, fetched=texts)
                with contextlib.suppress(StoreError):  # then another listener asks once more
                    self._shared.set_value(f"asked {account}", moment)

    def _postpone_for_leader(self, schedule: RecoverySchedule) -> None:
        now = time.monotonic()
        self._set(schedule.postpone, now, LEADER_POLL_SECONDS)
        self._leader_since = min(self._leader_since, now)
        if now - self._leader_since >= self._times[1]:
            seconds = round(now - self._leader_since)
            json_log.log_event(
                "other listeners have been asking for queued texts all the time", logging.WARNING, seconds=seconds
            )
            self._leader_since = now

    def _failed(self, due: DueRun, reason: Exception) -> None:
        now = time.monotonic()
        if self._closing:
            return
        if isinstance(reason, NotStored | StoreError):  # ThingSpace has nothing to do with it
            self._set(due.schedule.postpone, now)
            if not self._waits:
                json_log.log_event("queued texts are not asked for now", reason=str(reason))
            self._waits = True
            return
        self._metrics.record_recovery_run("failed")
        if isinstance(reason, queue_drainer.CredentialsRejected):
            with self._changed:
                if due.drainer is self._healing:
                    self._stop(STOPPED)
            json_log.log_event(
                "no queued texts are asked for until a restart or SIGHUP with other credentials",
                logging.ERROR,
                account=due.account,
                reason=str(reason),
            )
            return
        self._set(due.schedule.failed, now)
        seconds = round(due.schedule.due - now)
        told = str(reason) if isinstance(reason, queue_drainer.RecoveryError) else repr(reason)
        json_log.log_event(
            "queued texts could not be asked for", logging.WARNING, account=due.account, reason=told, again_in=seconds
        )

    def _check_allowed(self) -> None:
        """Nothing is asked for that would be refused when it comes, nor by two. Raises Refused."""
        if self._closing:
            raise NotStored("the listener is stopping")
        if problem := self._run_in_loop(self._readiness.not_ready_reason()):
            raise NotStored(problem)
        if not self._has_turn():
            raise NotStored("another listener may have the turn meanwhile")
        self._waits = False

    def _store_durably(self, arrivals: Sequence[IncomingCallback]) -> None:
        """Store all of them durably, however long that takes: they may be nowhere else. Raises only at the end."""
        self._uncommitted, failing = len(arrivals), False
        while True:
            marked, unmarked = self._mark_duplicates(arrivals)
            try:
                self._run_in_loop(self._all(marked))
                break
            except Exception as reason:
                if self._closing and time.monotonic() > self._end:
                    raise
                if not failing:
                    event = "texts from the queue wait for the store, and nothing else is asked for"
                    json_log.log_event(event, logging.ERROR, texts=len(arrivals), reason=str(reason))
                failing = True
                time.sleep(AGAIN_SECONDS)
        self._uncommitted = 0
        if failing:
            json_log.log_event("the texts from the queue are stored", texts=len(arrivals))
        if unmarked:
            json_log.log_event(
                "texts from the queue may repeat others without a mark", logging.WARNING, reason=unmarked
            )
        for arrival in arrivals:
            self._metrics.record_stored(arrival.callback.kind)

    def _mark_duplicates(self, arrivals: Sequence[IncomingCallback]) -> tuple[list[IncomingCallback], str]:
        """With those named that were posted before; and why not all, for that keeps no text from being stored."""
        marked: list[IncomingCallback] = []
        try:
            for arrival in arrivals:
                repeats = self._posted.first(arrival.account, arrival.callback)
                marked.append(arrival._replace(duplicate_of=repeats))
        except Exception as reason:  # noqa: BLE001  whatever it is
            return [*marked, *arrivals[len(marked) :]], str(reason)
        return marked, ""

    def _read(self, selection: MessageQuery) -> list[StoredMessage]:
        if self._closing:
            raise NotStored("the listener is stopping")  # there is time to store, not to look around
        return self._store.find(selection)

    async def _all(self, arrivals: Sequence[IncomingCallback]) -> None:
        await asyncio.gather(*(self._inbox.store(arrival, STORE_SECONDS) for arrival in arrivals))

    def _run_in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the event loop do it, in this thread. Raises what it raises, and Refused when it takes too long."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(STORE_SECONDS + LOOP_SECONDS)
        except FutureTimeout:
            raise NotStored("the listener is too busy") from None

    def _set(self, change: Callable[..., None], *times: float) -> None:
        with self._changed:
            change(*times)

    def _stop(self, problem: str) -> None:
        self._problem = problem
        self._metrics.healing_stopped.set(bool(problem))
