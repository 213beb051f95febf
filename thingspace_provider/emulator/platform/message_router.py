"""Message router: moves messages from devices to listeners or the queue, and to devices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from itertools import zip_longest
from typing import Any, Literal

from thingspace_provider.emulator.platform.callback_bodies import (
    build_confirmation_body,
    build_message_body,
    build_sent_body,
)
from thingspace_provider.emulator.platform.callback_sender import CallbackSender, OutgoingCallback
from thingspace_provider.emulator.platform.state import (
    Account,
    ArchivedCallback,
    Device,
    DeviceMessage,
    OutboundMessage,
    PlatformState,
    Registration,
)
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import Timer, VirtualClock

DEVICE_MESSAGE_SERVICE = "EnhancedConnectivityService"
CONFIRMATION_SERVICE = "SMSDeliveryConfirmation"
MAX_LIVE_DELIVERIES = 256
MAX_DRAIN_DELIVERIES = 32
SENT_SECONDS = 1.0
CONFIRMED_SECONDS = 2.0
ARCHIVE_SECONDS = 30 * 24 * 3600


class MessageRouter:
    """Routes messages in background tasks. Requests start them and do not wait."""

    def __init__(self, state: PlatformState, clock: VirtualClock, switches: Switches, sender: CallbackSender) -> None:
        self._state, self._clock, self._switches, self._sender = state, clock, switches, sender
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timers: set[Timer] = set()
        self._live: deque[tuple[str, DeviceMessage]] = deque()
        self._live_workers = 0

    def receive_from_device(self, name: str, device: Device, text: str) -> DeviceMessage:
        """Accept a message of a device: deliver it to the listener, or queue it."""
        account = self._state.accounts[name]
        message = DeviceMessage(self._state.next_number(), device.ids, text, self._clock.now())
        if DEVICE_MESSAGE_SERVICE not in account.registrations:
            account.queue[message.number] = message
        else:
            account.in_flight[message.number] = message
            self._live.append((name, message))
            if self._live_workers < MAX_LIVE_DELIVERIES:
                self._live_workers += 1
                self._start(self._deliver_live())
        return message

    def start_callbacks(self, name: str) -> int:
        """Start to deliver the messages that are queued now. Returns their number."""
        account = self._state.accounts[name]
        if DEVICE_MESSAGE_SERVICE not in account.registrations:
            return 0
        messages = list(account.queue.values())
        account.in_flight.update(account.queue)
        account.queue.clear()
        ordered = messages if self._switches["drainOrder"] == "asQueued" else list(interleave(messages))
        waiting = iter(ordered)
        for _ in range(min(MAX_DRAIN_DELIVERIES, len(ordered))):
            self._start(self._drain(name, waiting))
        return len(ordered)

    def send_to_device(self, message: OutboundMessage) -> None:
        """Accept an outbound message. Virtual time sends, confirms or expires it."""
        self._state.outbound_messages.append(message)
        self._schedule(message)

    def on_device_changed(self, device: Device) -> None:
        """Send the queued outbound messages of a device that may be reachable again."""
        for message in self._state.outbound_messages:
            if message.state == "queued" and self._find_device(message) is device:
                self._call_later(SENT_SECONDS, partial(self._send, message))

    def resend(self, request_id: str) -> int:
        """Send the archived callbacks of a request again. Returns their number."""
        callbacks = [callback for callback in self.archive() if callback.request_id == request_id]
        self._state.archive = [callback for callback in self._state.archive if callback.request_id != request_id]
        for callback in callbacks:
            self._start(self._send_status(callback.account, callback.service, callback.body))
        return len(callbacks)

    def archive(self) -> list[ArchivedCallback]:
        """Return the callbacks of the last 30 days that no listener acknowledged."""
        now = self._clock.now()
        self._state.archive = [
            callback for callback in self._state.archive if now - callback.archived < ARCHIVE_SECONDS
        ]
        return self._state.archive

    def resume(self) -> None:
        """Continue with another state: queue the messages in flight and schedule the outbound messages."""
        for account in self._state.accounts.values():
            account.queue = {**account.in_flight, **account.queue}
            account.in_flight = {}
        for message in self._state.outbound_messages:
            self._schedule(message)

    async def stop(self) -> None:
        """Cancel every task and timer. Messages stay in flight, which an export shows as queued."""
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
        """Number of running tasks."""
        return len(self._tasks)

    async def wait_until_idle(self) -> None:
        """Wait until no task runs."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _deliver_live(self) -> None:
        """Deliver live messages until none is left. One of at most `MAX_LIVE_DELIVERIES` workers."""
        try:
            while self._live:
                name, message = self._live.popleft()
                await self._deliver(name, message, "live", "queued")
        finally:
            self._live_workers -= 1

    async def _drain(self, name: str, messages: Iterable[DeviceMessage]) -> None:
        for message in messages:
            await self._deliver(name, message, "startCallbacks", self._switches["failedDrainDelivery"])

    async def _deliver(self, name: str, message: DeviceMessage, trigger: str, after_failure: str) -> None:
        account = self._state.accounts[name]
        body = build_message_body(message.text, message.ids, self._state.request_id(message.number), self._switches)
        callback = OutgoingCallback(
            name,
            DEVICE_MESSAGE_SERVICE,
            trigger,
            message.number,
            body,
            lambda: account.registrations.get(DEVICE_MESSAGE_SERVICE),
        )
        delivered = await self._sender.deliver(callback)
        account.in_flight.pop(message.number, None)
        if not delivered and after_failure == "queued":
            account.queue[message.number] = message

    def _schedule(self, message: OutboundMessage) -> None:
        now = self._clock.now()
        if message.state == "queued":
            self._call_later(max(0.0, message.accepted + SENT_SECONDS - now), lambda: self._send(message))
            self._call_later(max(0.0, message.expires - now), lambda: self._expire(message))
        elif message.state == "sent":
            self._call_later(CONFIRMED_SECONDS, lambda: self._confirm(message))

    def _send(self, message: OutboundMessage) -> None:
        device = self._find_device(message)
        if message.state != "queued" or device is None or not device.reachable:
            return
        message.state = "sent"
        body = build_sent_body(message.ids, message.request_id, self._switches)
        self._start(self._send_status(message.account, DEVICE_MESSAGE_SERVICE, body))
        self._call_later(CONFIRMED_SECONDS, lambda: self._confirm(message))

    def _confirm(self, message: OutboundMessage) -> None:
        if message.state == "sent":
            self._finish(message, "delivered")

    def _expire(self, message: OutboundMessage) -> None:
        if message.state == "queued":
            self._finish(message, "expired")

    def _finish(self, message: OutboundMessage, state: Literal["delivered", "expired"]) -> None:
        message.state = state
        body = build_confirmation_body(message.ids, message.request_id, state.capitalize(), self._switches)
        self._start(self._send_status(message.account, CONFIRMATION_SERVICE, body))

    def _find_device(self, message: OutboundMessage) -> Device | None:
        return self._state.accounts[message.account].find(*next(iter(message.ids.items())))

    async def _send_status(self, name: str, service: str, body: dict[str, Any]) -> None:
        account = self._state.accounts[name]
        if service not in account.registrations:
            return
        callback = OutgoingCallback(name, service, "status", 0, body, lambda: _find_registration(account, service))
        if not await self._sender.deliver(callback):
            self.archive().append(ArchivedCallback(body["requestId"], name, service, body, self._clock.now()))

    def _call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            callback()

        timer = self._clock.call_later(seconds, fire)
        self._timers.add(timer)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def interleave(messages: list[DeviceMessage]) -> Iterable[DeviceMessage]:
    """Alternate between the newer and the older half: out of order, as documented, but deterministic."""
    middle = len(messages) // 2
    for newer, older in zip_longest(messages[middle:], messages[:middle]):
        if newer is not None:
            yield newer
        if older is not None:
            yield older


def _find_registration(account: Account, service: str) -> Registration | None:
    return account.registrations.get(service)
