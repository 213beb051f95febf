"""Emulator: creates and connects its parts. Two emulators in one process share nothing."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingspace_provider.emulator.api.authentication import Authenticator
from thingspace_provider.emulator.api.gateway import Gateway
from thingspace_provider.emulator.api.operations import Operations
from thingspace_provider.emulator.platform.callback_sender import CallbackSender
from thingspace_provider.emulator.platform.faults import FaultRule, Faults
from thingspace_provider.emulator.platform.journal import Journal
from thingspace_provider.emulator.platform.message_router import MessageRouter
from thingspace_provider.emulator.platform.state import PlatformState, default_state
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import LISTENER_TIMEOUT_SECONDS, VirtualClock


@dataclass(frozen=True, slots=True)
class EmulatorConfig:
    """Configuration of an emulator, which a reset restores.

    Args:
        state: The platform state at the start.
        switches: Switches without their default value.
        faults: Faults to add at the start.
        start: Virtual time at the start, in seconds since the epoch; today's time unless given.
        frozen: Whether the virtual clock is frozen at the start.
        resolve: `host:port` of a listener -> `address:port` in its place.
        host: Address or name to listen on. A request from this machine may name it as its host.
        ca_file: File with further certificate authorities, in PEM.
        listener_timeout_seconds: Real seconds that a move of the clock waits for a listener's response.
    """

    state: PlatformState = field(default_factory=default_state)
    switches: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[FaultRule, ...] = ()
    start: float | None = None
    frozen: bool = False
    resolve: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    ca_file: str | None = None
    listener_timeout_seconds: float = LISTENER_TIMEOUT_SECONDS


class Emulator:
    """Emulator. Must be created in the event loop that serves it."""

    def __init__(self, config: EmulatorConfig) -> None:
        self.config = config
        self.request_count = 0
        self.state = copy.deepcopy(config.state)
        self.clock = VirtualClock(
            config.start, frozen=config.frozen, listener_timeout_seconds=config.listener_timeout_seconds
        )
        self.switches = Switches(config.switches)
        self.faults = Faults()
        self.journal = Journal()
        self.sender = CallbackSender(self.clock, self.switches, self.faults, self.journal, config.ca_file)
        self.sender.resolve.update(config.resolve)
        self.router = MessageRouter(self.state, self.clock, self.switches, self.sender)
        self.authenticator = Authenticator(self.state, self.clock, self.switches)
        operations = Operations(self.state, self.clock, self.switches, self.authenticator, self.router)
        self.gateway = Gateway(self.state, self.clock, self.faults, self.journal, self.authenticator, operations)
        for rule in config.faults:
            self.faults.add(rule)

    @property
    def revision(self) -> tuple[int, int]:
        """Number of requests and of delivery attempts: differs whenever the platform state can have changed."""
        return self.request_count, self.journal.attempts

    def connection(self, url: str) -> dict[str, Any]:
        """Return the settings of a client: base URL, first application, first user, all accounts."""
        app_key, app_secret = next(iter(self.state.applications.items()))
        username, user = next(iter(self.state.users.items()))
        return {
            "url": url,
            "appKey": app_key,
            "appSecret": app_secret,
            "username": username,
            "password": user.password,
            "accounts": list(self.state.accounts),
        }

    async def replace_state(self, state: PlatformState) -> None:
        """Cancel everything in flight and replace the platform state."""
        await self.router.stop()
        self.state.replace(state)
        self.router.resume()

    async def reset(self) -> None:
        """Restore the platform state, clock, switches and faults of the start, and clear the journal."""
        self.gateway.release_held_requests()
        await self.replace_state(copy.deepcopy(self.config.state))
        start = VirtualClock(self.config.start).now() if self.config.start is None else self.config.start
        self.clock.set(start, frozen=self.config.frozen)
        self.switches.restore_defaults()
        self.switches.update(self.config.switches)
        self.faults.clear()
        for rule in self.config.faults:
            self.faults.add(rule)
        self.sender.resolve.clear()
        self.sender.resolve.update(self.config.resolve)
        self.journal.clear()

    async def close(self) -> None:
        """Cancel everything in flight and close every connection to a listener."""
        self.gateway.release_held_requests()
        await self.router.stop()
        self.clock.cancel_all()
        await self.sender.close()
