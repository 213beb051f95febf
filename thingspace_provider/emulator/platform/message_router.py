"""The part of ThingSpace that moves texts: from devices to listeners or the queue, from the queue, to devices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from itertools import zip_longest
from typing import Any

from thingspace_provider.emulator.platform.callback_bodies import confirmation_body, sent_body, text_body
from thingspace_provider.emulator.platform.callback_sender import Notice, Sender
from thingspace_provider.emulator.platform.state import Account, Archived, Command, Device, Registration, Text, World
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import Clock, Timer

TEXTS = "EnhancedConnectivityService"
CONFIRMATIONS = "SMSDeliveryConfirmation"
LIVE_SLOTS = 256
DRAIN_SLOTS = 32
SENT_SECONDS = 1.0
CONFIRMED_SECONDS = 2.0
ARCHIVE_SECONDS = 30 * 24 * 3600


class Platform:
    """Texts on their way. Nothing here answers a request; requests start it and go on."""

    def __init__(self, world: World, clock: Clock, switches: Switches, sender: Sender) -> None:
        self._world, self._clock, self._switches, self._sender = world, clock, switches, sender
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: set[Timer] = set()
        self._live: deque[tuple[str, Text]] = deque()
        self._live_workers = 0

    def text_from_device(self, name: str, device: Device, message: str) -> Text:
        """A device sends a text: the listener gets it now, or the queue does."""
        account = self._world.accounts[name]
        text = Text(self._world.next_number(), device, message, self._clock.now())
        if TEXTS not in account.registrations:
            account.queue[text.number] = text
        else:
            account.in_flight[text.number] = text
            self._live.append((name, text))
            if self._live_workers < LIVE_SLOTS:
                self._live_workers += 1
                self._start(self._deliver_live())
        return text

    def start_callbacks(self, name: str) -> int:
        """Push what is queued now to the listener, and return at once with how many texts that is."""
        account = self._world.accounts[name]
        if TEXTS not in account.registrations:
            return 0
        texts = list(account.queue.values())
        account.in_flight.update(account.queue)
        account.queue.clear()
        ordered = texts if self._switches["drainOrder"] == "asQueued" else list(interleaved(texts))
        waiting = iter(ordered)
        for _ in range(min(DRAIN_SLOTS, len(ordered))):
            self._start(self._drain(name, waiting))
        return len(ordered)

    def text_to_device(self, command: Command) -> None:
        """Take a text to a device on its way through network, device and time."""
        self._world.commands.append(command)
        self._plan(command)

    def device_changed(self, device: Device) -> None:
        """A device may be reachable again: what waits for it goes out."""
        for command in self._world.commands:
            if command.device is device and command.state == "queued":
                self._later(SENT_SECONDS, partial(self._send, command))

    def resend(self, request_id: str) -> int:
        """An operator has the archived notices of a request sent again; how many there were."""
        found = [notice for notice in self.archive() if notice.request_id == request_id]
        self._world.archive = [notice for notice in self._world.archive if notice.request_id != request_id]
        for notice in found:
            self._start(self._notify(notice.account, notice.service, notice.body))
        return len(found)

    def archive(self) -> list[Archived]:
        """Notices no listener took, those of the last 30 days."""
        now = self._clock.now()
        self._world.archive = [old for old in self._world.archive if now - old.archived < ARCHIVE_SECONDS]
        return self._world.archive

    def resume(self) -> None:
        """After a restart: texts that were in flight are queued, and clocks of texts to devices run again."""
        for account in self._world.accounts.values():
            account.queue = {**account.in_flight, **account.queue}
            account.in_flight = {}
        for command in self._world.commands:
            self._plan(command)

    async def stop(self) -> None:
        """End everything under way. Texts stay marked as in flight, which an export counts as queued."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._live.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    @property
    def in_flight(self) -> int:
        """Texts and notices under way at this moment."""
        return len(self._tasks)

    async def idle(self) -> None:
        """Return once nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _deliver_live(self) -> None:
        """Deliver live texts until none waits. So many run side by side, however many texts come at once."""
        try:
            while self._live:
                name, text = self._live.popleft()
                await self._deliver(name, text, "live", "queued")
        finally:
            self._live_workers -= 1

    async def _drain(self, name: str, texts: Iterable[Text]) -> None:
        for text in texts:
            await self._deliver(name, text, "startCallbacks", self._switches["failedDrain"])

    async def _deliver(self, name: str, text: Text, trigger: str, after_failure: str) -> None:
        account = self._world.accounts[name]
        body = text_body(text.message, text.device, self._world.request_id(text.number), self._switches)
        notice = Notice(name, TEXTS, trigger, text.number, body, lambda: account.registrations.get(TEXTS))
        delivered = await self._sender.deliver(notice)
        account.in_flight.pop(text.number, None)
        if not delivered and after_failure == "queued":
            account.queue[text.number] = text

    def _plan(self, command: Command) -> None:
        now = self._clock.now()
        if command.state == "queued":
            self._later(max(0.0, command.accepted + SENT_SECONDS - now), lambda: self._send(command))
            self._later(max(0.0, command.expires - now), lambda: self._expire(command))
        elif command.state == "sent":
            self._later(CONFIRMED_SECONDS, lambda: self._confirm(command))

    def _send(self, command: Command) -> None:
        if command.state != "queued" or not command.device.reachable:
            return
        command.state = "sent"
        self._start(self._notify(command.account, TEXTS, sent_body(command.device, command.request_id, self._switches)))
        self._later(CONFIRMED_SECONDS, lambda: self._confirm(command))

    def _confirm(self, command: Command) -> None:
        if command.state == "sent":
            self._close(command, "delivered")

    def _expire(self, command: Command) -> None:
        if command.state == "queued":
            self._close(command, "expired")

    def _close(self, command: Command, state: str) -> None:
        command.state = state
        body = confirmation_body(command.device, command.request_id, state.capitalize(), self._switches)
        self._start(self._notify(command.account, CONFIRMATIONS, body))

    async def _notify(self, name: str, service: str, body: dict[str, Any]) -> None:
        account = self._world.accounts[name]
        if service not in account.registrations:
            return
        notice = Notice(name, service, "notice", 0, body, lambda: _registration(account, service))
        if not await self._sender.deliver(notice):
            self.archive().append(Archived(body["requestId"], name, service, body, self._clock.now()))

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            callback()

        timer = self._clock.call_later(seconds, fire)
        self._timers.add(timer)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def interleaved(texts: list[Text]) -> Iterable[Text]:
    """The newer half before the older, turn by turn: out of order, as documented, and the same every time."""
    middle = len(texts) // 2
    for newer, older in zip_longest(texts[middle:], texts[:middle]):
        if newer is not None:
            yield newer
        if older is not None:
            yield older


def _registration(account: Account, service: str) -> Registration | None:
    return account.registrations.get(service)
