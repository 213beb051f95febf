"""The emulator's only clock: it follows the wall, can be moved ahead, and can be stopped altogether."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

IDLE_LOOP_TURNS = 20
"""Turns of the event loop after which everything that a fired timer started has reached its next wait."""

LISTENER_TIMEOUT_SECONDS = 1.5
"""Wall seconds that a move of the clock waits for a listener's answer before it counts that listener as silent."""


class Timer:
    """A callback that is due at a virtual moment, unless cancelled."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget the callback; the entry leaves the heap when its time comes."""
        self.callback = None


class VirtualClock:
    """Virtual time in seconds since the epoch, for one event loop.

    Every wait of the emulator, from a retry to the five days of a text's life, is a timer here. `advance` fires
    the timers on its way in order, and before each step lets deliveries that are under way come to their end.
    """

    def __init__(self, start: float | None = None, *, frozen: bool = False) -> None:
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
        """Whether time stands still between two moves."""
        return self._frozen

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._base if self._frozen else self._base + time.monotonic() - self._anchor

    def set(self, moment: float, *, frozen: bool) -> None:
        """Put the clock to a moment and start or stop it; timers that become due fire."""
        self._base, self._anchor, self._frozen = moment, time.monotonic(), frozen
        self._schedule_wakeup()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` once so many virtual seconds have passed."""
        timer = Timer(self.now() + seconds, callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        if self._timers[0][2] is timer:
            self._schedule_wakeup()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait for virtual time to pass."""
        await self.wait(None, seconds)

    async def wait(self, task: asyncio.Future[Any] | None, seconds: float) -> bool:
        """Wait for a task, at most so many virtual seconds; true if it finished. The task is not cancelled."""
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
        """Mark real input and output, which a move of the clock lets finish first."""
        ticket = next(self._ticket)
        self._pending_io[ticket] = True
        try:
            yield
        finally:
            del self._pending_io[ticket]
            self._changed.set()

    async def advance(self, seconds: float) -> float:
        """Move time ahead and return the new moment; whatever falls due on the way happens in order."""
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
        """Return when nothing is under way that does not wait for the clock or for a silent listener."""
        while True:
            self._changed.clear()
            for _ in range(IDLE_LOOP_TURNS):
                await asyncio.sleep(0)
            if any(self._pending_io.values()):
                try:
                    await asyncio.wait_for(self._changed.wait(), LISTENER_TIMEOUT_SECONDS)
                except asyncio.TimeoutError:
                    self._pending_io = dict.fromkeys(self._pending_io, False)
            elif not self._changed.is_set():  # else something ended during these turns, and what follows it has begun
                return

    def cancel_all(self) -> None:
        """Drop every timer."""
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
