"""Control API of the emulator, under `/_emulator/`: what a test or a person can do that ThingSpace does not offer."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import Any

from starlette.responses import Response

from thingspace_provider.emulator.control.control_openapi import build_control_document
from thingspace_provider.emulator.control.endpoint import Endpoint, InvalidRequest
from thingspace_provider.emulator.control.inventory_api import (
    InventoryApi,
    device_ids_to_json,
    find_account,
    find_device,
)
from thingspace_provider.emulator.control.requests import (
    AccountQuery,
    EventsQuery,
    IdleQuery,
    JournalQuery,
    MoveClockRequest,
    ResolveRequest,
    SendMessageRequest,
    SwitchesRequest,
)
from thingspace_provider.emulator.control.thingspace_openapi import build_thingspace_document
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.faults import FaultRule
from thingspace_provider.emulator.platform.state_json import StateJson
from thingspace_provider.emulator.platform.virtual_clock import format_time

MAX_STATE_BYTES = 256 * 1024 * 1024
MAX_LISTED_MESSAGES = 1000


class ControlApi:
    """Handlers of the control API. Invalid requests get 400 and `{"error"}`."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._inventory = InventoryApi(emulator)
        self.endpoints = [
            Endpoint("GET", "connection", self.show_connection, takes_url=True),
            Endpoint("POST", "messages", self.send_message, body=SendMessageRequest, status=202),
            Endpoint("GET", "queue", self.show_queue, query=AccountQuery),
            Endpoint("DELETE", "queue", self.clear_queue, query=AccountQuery),
            Endpoint("GET", "journal", self.show_journal, query=JournalQuery),
            Endpoint("DELETE", "journal", self.clear_journal),
            Endpoint("GET", "events", self.show_events, query=EventsQuery),
            Endpoint("GET", "summary", self.show_summary),
            Endpoint("GET", "faults", self.show_faults),
            Endpoint("POST", "faults", self.add_fault, body=FaultRule, status=201),
            Endpoint("DELETE", "faults", self.clear_faults),
            Endpoint("DELETE", "faults/{number:int}", self.remove_fault),
            Endpoint("GET", "clock", self.show_clock),
            Endpoint("POST", "clock", self.move_clock, body=MoveClockRequest),
            Endpoint("GET", "switches", self.show_switches),
            Endpoint("PUT", "switches", self.put_switches, body=SwitchesRequest),
            Endpoint("GET", "state", self.show_state),
            Endpoint("PUT", "state", self.put_state, body=StateJson, max_body_bytes=MAX_STATE_BYTES),
            Endpoint("POST", "reset", self.reset),
            *self._inventory.endpoints,
            Endpoint("GET", "idle", self.wait_until_idle, query=IdleQuery),
            Endpoint("GET", "resolve", self.show_resolve),
            Endpoint("PUT", "resolve", self.put_resolve, body=ResolveRequest),
            Endpoint("GET", "openapi.json", self.describe_control_api, takes_url=True),
            Endpoint("GET", "thingspace.openapi.json", self.describe_thingspace, takes_url=True),
        ]
        self.routes = [endpoint.route() for endpoint in self.endpoints]

    def show_connection(self, url: str) -> dict[str, Any]:
        """Show the base URL and the credentials for a client. The credentials are invented."""
        return self._emulator.connection(f"{url}/api")

    def send_message(self, body: SendMessageRequest) -> dict[str, Any]:
        """Send a message from a device, once or `repeat` times."""
        device = find_device(find_account(self._emulator, body.account_name), body.device_ids)
        number = 0
        for _ in range(body.repeat):
            number = self._emulator.router.receive_from_device(body.account_name, device, body.message).number
        return {"accountName": body.account_name, "number": number, "count": body.repeat}

    def show_queue(self, query: AccountQuery) -> dict[str, Any]:
        """Show the queue of an account without a change: the number of messages, and the first 1,000."""
        account = find_account(self._emulator, query.account_name)
        messages = [
            {"number": message.number, "deviceIds": device_ids_to_json(message.ids), "message": message.text}
            | {"receivedAt": format_time(message.received)}
            for message in islice(account.queue.values(), MAX_LISTED_MESSAGES)
        ]
        return {"count": len(account.queue), "inFlight": len(account.in_flight), "messages": messages}

    def clear_queue(self, query: AccountQuery) -> dict[str, Any]:
        """Remove every message from the queue of an account. No client gets them."""
        queue = find_account(self._emulator, query.account_name).queue
        count = len(queue)
        queue.clear()
        return {"count": count}

    def show_journal(self, query: JournalQuery) -> dict[str, Any]:
        """Show the calls and the deliveries."""
        return self._emulator.journal.as_json(query.operation, query.account_name)

    def clear_journal(self) -> dict[str, Any]:
        """Remove every entry of the journal."""
        self._emulator.journal.clear()
        return {}

    def show_events(self, query: EventsQuery) -> dict[str, Any]:
        """Show the newest calls and deliveries with ids above `after` in their order, at most `limit`."""
        return self._emulator.journal.events(query.after, query.limit)

    def show_summary(self) -> dict[str, Any]:
        """Show clock, accounts, users, faults and switches at once."""
        return {
            "clock": self.show_clock(),
            **self._inventory.show_accounts(),
            **self._inventory.show_users(),
            **self.show_faults(),
            "switches": self.show_switches(),
        }

    def show_faults(self) -> dict[str, Any]:
        """Show the faults and their hits."""
        return {"faults": self._emulator.faults.as_json()}

    def add_fault(self, body: FaultRule) -> dict[str, Any]:
        """Add a fault."""
        return self._emulator.faults.add(body).as_json()

    def clear_faults(self) -> dict[str, Any]:
        """Remove every fault."""
        self._emulator.faults.clear()
        return {}

    def remove_fault(self, number: int) -> dict[str, Any]:
        """Remove one fault."""
        if not self._emulator.faults.remove(number):
            raise InvalidRequest(f"there is no fault {number}")
        return {}

    def show_clock(self) -> dict[str, Any]:
        """Show the virtual time."""
        now = self._emulator.clock.now()
        return {"now": format_time(now), "seconds": now, "frozen": self._emulator.clock.frozen}

    async def move_clock(self, body: MoveClockRequest) -> dict[str, Any]:
        """Stop or start the virtual clock, then advance it. Responds when everything due has happened."""
        if not body.model_fields_set:
            raise InvalidRequest("advanceSeconds or frozen is required")
        clock = self._emulator.clock
        clock.set(clock.now(), frozen=clock.frozen if body.frozen is None else body.frozen)
        await clock.advance(body.advance_seconds)
        return self.show_clock()

    def show_switches(self) -> dict[str, Any]:
        """Show every switch and its value."""
        return self._emulator.switches.as_dict()

    def put_switches(self, body: SwitchesRequest) -> dict[str, Any]:
        """Set switches; the others keep their values."""
        self._emulator.switches.update(body.root)
        return self._emulator.switches.as_dict()

    def show_state(self) -> Response:
        """Export the platform state, with passwords."""
        return Response(StateJson.from_state(self._emulator.state).encode(), media_type="application/json")

    async def put_state(self, body: StateJson) -> dict[str, Any]:
        """Replace the platform state by an exported one, and cancel everything in flight."""
        await self._emulator.replace_state(body.to_state())
        return {}

    async def reset(self) -> dict[str, Any]:
        """Restore the state at the start of the emulator."""
        await self._emulator.reset()
        return {}

    async def wait_until_idle(self, query: IdleQuery) -> dict[str, Any]:
        """Respond when nothing is in flight, or after `timeoutSeconds` of real time."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._emulator.router.wait_until_idle(), query.timeout_seconds)
        return {"idle": self._emulator.router.in_flight == 0}

    def show_resolve(self) -> dict[str, str]:
        """Show the addresses in place of listeners."""
        return self._emulator.sender.resolve

    def put_resolve(self, body: ResolveRequest) -> dict[str, str]:
        """Replace the addresses in place of listeners."""
        addresses = self._emulator.sender.resolve
        addresses.clear()
        addresses.update(body.root)
        return addresses

    def describe_control_api(self, url: str) -> dict[str, Any]:
        """Describe the control API as an OpenAPI document."""
        return build_control_document(url, self.endpoints)

    def describe_thingspace(self, url: str) -> dict[str, Any]:
        """Describe the emulated API of ThingSpace as an OpenAPI document."""
        return build_thingspace_document(f"{url}/api")
