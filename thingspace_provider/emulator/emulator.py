"""One emulator: its parts put together. Two of them in one process share nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingspace_provider.emulator.api.authentication import Identity
from thingspace_provider.emulator.api.gateway import Gateway
from thingspace_provider.emulator.api.operations import Operations
from thingspace_provider.emulator.platform.callback_sender import Sender
from thingspace_provider.emulator.platform.faults import Faults
from thingspace_provider.emulator.platform.journal import Journal
from thingspace_provider.emulator.platform.message_router import Platform
from thingspace_provider.emulator.platform.state import World, seeded
from thingspace_provider.emulator.platform.state_json import export_world, import_world
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import Clock


@dataclass(frozen=True, slots=True)
class Setup:
    """What an emulator starts with and goes back to on reset.

    `start` is in seconds since the epoch; without it the clock starts at today's time. `resolve` maps a listener's
    `host:port` to the `address:port` of this machine that stands for it. `ca` is a file of further authorities.
    """

    world: World = field(default_factory=seeded)
    switches: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Mapping[str, object], ...] = ()
    start: float | None = None
    frozen: bool = False
    resolve: Mapping[str, str] = field(default_factory=dict)
    ca: str | None = None


class Emulator:
    """The parts of one emulator. Made inside the event loop that serves it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.requests = 0
        self._seed = export_world(setup.world)
        self.world = import_world(self._seed)
        self.clock = Clock(setup.start, frozen=setup.frozen)
        self.switches = Switches(setup.switches)
        self.faults = Faults()
        self.journal = Journal()
        self.sender = Sender(self.clock, self.switches, self.faults, self.journal, setup.ca)
        self.sender.resolve.update(setup.resolve)
        self.platform = Platform(self.world, self.clock, self.switches, self.sender)
        self.identity = Identity(self.world, self.clock, self.switches)
        operations = Operations(self.world, self.clock, self.switches, self.identity, self.platform)
        self.gateway = Gateway(self.world, self.clock, self.faults, self.journal, self.identity, operations)
        for rule in setup.faults:
            self.faults.arm(rule)

    @property
    def revision(self) -> tuple[int, int]:
        """Changes whenever the world may have: requests taken so far, and attempts to deliver."""
        return self.requests, self.journal.attempts

    def connection(self, url: str) -> dict[str, Any]:
        """What a client needs: base address, the first application, the first user, all accounts."""
        app_key, app_secret = next(iter(self.world.apps.items()))
        username, user = next(iter(self.world.users.items()))
        return {
            "url": url,
            "appKey": app_key,
            "appSecret": app_secret,
            "username": username,
            "password": user.password,
            "accounts": list(self.world.accounts),
        }

    async def become(self, world: World) -> None:
        """Drop what is under way and go on with another world."""
        await self.platform.stop()
        self.world.become(world)
        self.platform.resume()

    async def reset(self) -> None:
        """Back to the start: world, clock, switches, faults and journal."""
        self.gateway.let_go()
        await self.become(import_world(self._seed))
        start = Clock(self.setup.start).now() if self.setup.start is None else self.setup.start
        self.clock.set(start, frozen=self.setup.frozen)
        self.switches.restore_defaults()
        self.switches.put(self.setup.switches)
        self.faults.clear()
        for rule in self.setup.faults:
            self.faults.arm(rule)
        self.sender.resolve.clear()
        self.sender.resolve.update(self.setup.resolve)
        self.journal.clear()

    async def close(self) -> None:
        """End everything under way and close every connection to a listener."""
        self.gateway.let_go()
        await self.platform.stop()
        self.clock.forget()
        await self.sender.close()
