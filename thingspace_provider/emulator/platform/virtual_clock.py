"""Virtual clock of the emulator: follows real time until it is advanced or frozen."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

IDLE_LOOP_TURNS = 20
"""Turns of the event loop after which every task that a fired timer started has reached its next wait."""

LISTENER_TIMEOUT_SECONDS = 1.5
"""Real seconds that `advance` waits for a listener's response."""


def format_time(seconds: float) -> str:
    """Format a time in UTC, as `2026-03-01T08:15:30.250Z`."""
    moment = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Timer:
    """Callback that is due at a virtual time, unless cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Cancel the callback. The entry leaves the heap when it is due."""
        self.callback = None


class VirtualClock:
    """Virtual time in seconds since the epoch, for one event loop.

    Every wait of the emulator is a timer here, from a retry to the five days until a message expires. `advance`
    fires the timers in order. Before each one it waits for the deliveries in flight.

    Args:
        start: The virtual time at the start; today's time unless given.
        frozen: Whether time passes only by `advance`.
        listener_timeout_seconds: Real seconds that `advance` waits for a listener's response.
    """

    def __init__(
        self,
        start: float | None = None,
        *,
        frozen: bool = False,
        listener_timeout_seconds: float = LISTENER_TIMEOUT_SECONDS,
    ) -> None:
        self._listener_timeout_seconds = listener_timeout_seconds
        self._anchor = time.monotonic()
        self._base = time.time() if start is None else start
        self._frozen = frozen
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._wake: asyncio.TimerHandle | None = None
        self._moving = asyncio.Lock()
        self._pending_io: dict[int, bool] = {}
        self._ticket = count()
        self._changed = asyncio.Event()

    @property
    def frozen(self) -> bool:
        """Whether time passes only by `advance`."""
        return self._frozen

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""
        return self._base if self._frozen else self._base + time.monotonic() - self._anchor

    def set(self, seconds: float, *, frozen: bool) -> None:
        """Set the virtual time, and start or stop the clock. Timers that become due fire."""
        self._base, self._anchor, self._frozen = seconds, time.monotonic(), frozen
        self._schedule_wakeup()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` after this many virtual seconds."""
        timer = Timer(self.now() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        if self._timers[0][2] is timer:
            self._schedule_wakeup()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait for this many virtual seconds."""
        await self.wait(None, seconds)

    async def wait(self, task: asyncio.Future[Any] | None, seconds: float) -> bool:
        """Wait for a task, at most this many virtual seconds. Returns whether it finished; it is never cancelled."""
        elapsed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if elapsed.done() else elapsed.set_result(None))
        try:
            if task is None:
                await elapsed
                return False
            await asyncio.wait((task, elapsed), return_when=asyncio.FIRST_COMPLETED)
            return task.done()
        finally:
            timer.cancel()

    @contextmanager
    def track_io(self) -> Iterator[None]:
        """Mark real input and output, for which `advance` waits."""
        ticket = next(self._ticket)
        self._pending_io[ticket] = True
        try:
            yield
        finally:
            del self._pending_io[ticket]
            self._changed.set()

    async def advance(self, seconds: float) -> float:
        """Advance the virtual time, fire the due timers in order, and return the new time."""
        async with self._moving:
            target = self.now() + seconds
            await self.wait_until_idle()
            while self._timers and self._timers[0][0] <= target:
                self._base = max(self.now(), self._timers[0][0])
                self._anchor = time.monotonic()
                self._fire()
                await self.wait_until_idle()
            self._base, self._anchor = max(self.now(), target), time.monotonic()
            self._schedule_wakeup()
            return self.now()

    async def wait_until_idle(self) -> None:
        """Wait until every task waits for the virtual clock, or for a listener that does not respond."""
        while True:
            self._changed.clear()
            for _ in range(IDLE_LOOP_TURNS):
                await asyncio.sleep(0)
            if any(self._pending_io.values()):
                try:
                    await asyncio.wait_for(self._changed.wait(), self._listener_timeout_seconds)
                except asyncio.TimeoutError:
                    self._pending_io = dict.fromkeys(self._pending_io, False)
            elif not self._changed.is_set():  # set: a task ended during these turns and may have started another
                return

    def cancel_all(self) -> None:
        """Cancel every timer."""
        self._timers.clear()
        self._schedule_wakeup()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now():
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()
        self._schedule_wakeup()

    def _schedule_wakeup(self) -> None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._timers and not self._frozen:
            wait = max(0.0, self._timers[0][0] - self.now())
            self._wake = asyncio.get_running_loop().call_later(wait, self._fire)
