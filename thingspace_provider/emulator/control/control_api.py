"""The control plane: what a test or a person does to the emulator that nobody can do to ThingSpace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thingspace_provider.emulator.api.history import format_timestamp
from thingspace_provider.emulator.control import openapi
from thingspace_provider.emulator.control.inventory_api import InventoryApi
from thingspace_provider.emulator.control.request_parsing import (
    InvalidRequest,
    device_ids,
    find_account,
    find_device,
    parse_json,
    parse_number,
    parse_object,
)
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.callback_sender import InvalidAddress
from thingspace_provider.emulator.platform.faults import InvalidFault
from thingspace_provider.emulator.platform.state_json import InvalidState, export_state, import_state, matches_type
from thingspace_provider.emulator.platform.switches import InvalidSwitch

MAX_STATE_BYTES = 256 * 1024 * 1024
MAX_MESSAGES = 100_000
MAX_ADVANCE_SECONDS = 10 * 366 * 24 * 3600
MAX_WAIT_SECONDS = 60.0
MAX_LISTED_MESSAGES = 1000

Handler = Callable[[Request], Awaitable[Response]]


class ControlApi:
    """The handlers of `/_emulator/`: JSON in, JSON out, 400 `{"error"}` for what makes no sense."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        inventory = InventoryApi(emulator)
        self._documentation: dict[tuple[str, str], str] = {}
        self.routes = [
            self._route("connection", GET=self.show_connection),
            self._route("messages", POST=self.send_message),
            self._route("queue", GET=self.show_queue),
            self._route("journal", GET=self.show_journal, DELETE=self.clear_journal),
            self._route("faults", GET=self.show_faults, POST=self.add_fault, DELETE=self.clear_faults),
            self._route("faults/{number:int}", DELETE=self.remove_fault),
            self._route("clock", GET=self.show_clock, POST=self.move_clock),
            self._route("switches", GET=self.show_switches, PUT=self.put_switches),
            self._route("state", GET=self.show_state, PUT=self.put_state),
            self._route("reset", POST=self.reset),
            self._route("accounts", GET=inventory.show_accounts, POST=inventory.add_account),
            self._route("devices", GET=inventory.show_devices, POST=inventory.put_device),
            self._route("users", GET=inventory.show_users),
            self._route("users/unlock", POST=inventory.unlock),
            self._route("outbound-messages", GET=inventory.show_outbound_messages),
            self._route("archive", GET=inventory.show_archive),
            self._route("archive/resend", POST=inventory.resend),
            self._route("idle", GET=self.wait_until_idle),
            self._route("resolve", GET=self.show_resolve, PUT=self.put_resolve),
            self._route("openapi.json", GET=self.describe_control),
            self._route("thingspace.openapi.json", GET=self.describe_thingspace),
        ]

    async def show_connection(self, request: Request) -> Response:
        """What a client needs to talk to this emulator; its credentials are invented."""
        return JSONResponse(self._emulator.connection(f"{request.base_url}api"))

    async def send_message(self, request: Request) -> Response:
        """A device sends a text, or the same one `repeat` times; the first device of the account unless named."""
        body = await parse_object(request, {"accountName", "message", "deviceIds", "repeat"})
        name, account = find_account(self._emulator, body.get("accountName"))
        message = body.get("message")
        if not isinstance(message, str):
            raise InvalidRequest("message is a string: what the device sends")
        repeat = body.get("repeat", 1)
        if not matches_type(repeat, int) or not 1 <= repeat <= MAX_MESSAGES:
            raise InvalidRequest(f"repeat is a whole number from 1 to {MAX_MESSAGES}")
        device = find_device(account, body.get("deviceIds"))
        numbers = [self._emulator.router.receive_from_device(name, device, message).number for _ in range(repeat)]
        return JSONResponse({"accountName": name, "number": numbers[-1], "count": len(numbers)}, 202)

    async def show_queue(self, request: Request) -> Response:
        """The texts of an account that wait, without touching them; `count` is all, `messages` at most 1000."""
        _, account = find_account(self._emulator, request.query_params.get("accountName"))
        messages = [
            {"number": message.number, "deviceIds": device_ids(message.device), "message": message.text}
            | {"timestamp": format_timestamp(message.received)}
            for message, _ in zip(account.queue.values(), range(MAX_LISTED_MESSAGES), strict=False)
        ]
        return JSONResponse({"count": len(account.queue), "inFlight": len(account.in_flight), "messages": messages})

    async def show_journal(self, request: Request) -> Response:
        """What was asked and what was sent."""
        query = request.query_params
        return JSONResponse(self._emulator.journal.as_json(query.get("operation"), query.get("accountName")))

    async def clear_journal(self, request: Request) -> Response:
        """Start the journal anew."""
        del request
        self._emulator.journal.clear()
        return JSONResponse({})

    async def show_faults(self, request: Request) -> Response:
        """The armed faults and their hits."""
        del request
        return JSONResponse({"faults": self._emulator.faults.as_json()})

    async def add_fault(self, request: Request) -> Response:
        """Arm one fault."""
        return JSONResponse(self._emulator.faults.add(await parse_json(request)).as_json(), 201)

    async def clear_faults(self, request: Request) -> Response:
        """Disarm every fault."""
        del request
        self._emulator.faults.clear()
        return JSONResponse({})

    async def remove_fault(self, request: Request) -> Response:
        """Disarm one fault."""
        if not self._emulator.faults.remove(request.path_params["number"]):
            raise InvalidRequest(f"there is no fault {request.path_params['number']}")
        return JSONResponse({})

    async def show_clock(self, request: Request) -> Response:
        """The virtual time."""
        del request
        return JSONResponse(self._clock_to_json())

    async def move_clock(self, request: Request) -> Response:
        """Stop or start the clock (`frozen`), then move it by `advanceSeconds`.

        The answer comes when all that fell due on the way is done.
        """
        body = await parse_object(request, {"advanceSeconds", "frozen"})
        seconds = parse_number(body, "advanceSeconds", 0, 0, MAX_ADVANCE_SECONDS)
        frozen = body.get("frozen", self._emulator.clock.frozen)
        if not isinstance(frozen, bool):
            raise InvalidRequest("frozen is true or false")
        if not body:
            raise InvalidRequest("a clock is moved by advanceSeconds or stopped and started by frozen")
        self._emulator.clock.set(self._emulator.clock.now(), frozen=frozen)
        await self._emulator.clock.advance(seconds)
        return JSONResponse(self._clock_to_json())

    async def show_switches(self, request: Request) -> Response:
        """Every switch and its value."""
        del request
        return JSONResponse(self._emulator.switches.as_dict())

    async def put_switches(self, request: Request) -> Response:
        """Set the given switches, leave the others."""
        body = await parse_json(request)
        if not isinstance(body, dict):
            raise InvalidRequest("the body is a JSON object of switches")
        self._emulator.switches.update(body)
        return JSONResponse(self._emulator.switches.as_dict())

    async def show_state(self, request: Request) -> Response:
        """Everything that a restart should not lose, passwords included."""
        del request
        return JSONResponse(export_state(self._emulator.state))

    async def put_state(self, request: Request) -> Response:
        """Go on with an exported state; what is under way is dropped."""
        await self._emulator.replace_state(import_state(await parse_json(request, MAX_STATE_BYTES)))
        return JSONResponse({})

    async def reset(self, request: Request) -> Response:
        """Back to how it started."""
        del request
        await self._emulator.reset()
        return JSONResponse({})

    async def wait_until_idle(self, request: Request) -> Response:
        """Answer once nothing is under way, at most `timeoutSeconds` (of the wall clock) from now."""
        try:
            seconds = min(MAX_WAIT_SECONDS, float(request.query_params.get("timeoutSeconds", "5")))
        except ValueError:
            raise InvalidRequest("timeoutSeconds is a number") from None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._emulator.router.wait_until_idle(), seconds)
        return JSONResponse({"idle": self._emulator.router.in_flight == 0})

    async def show_resolve(self, request: Request) -> Response:
        """Which addresses stand for which listeners."""
        del request
        return JSONResponse(self._emulator.sender.resolve)

    async def put_resolve(self, request: Request) -> Response:
        """Let an address of this machine stand for a listener: `{"hooks.example.net:443": "127.0.0.1:8443"}`."""
        body = await parse_json(request)
        self._emulator.sender.resolve_as(body)
        return JSONResponse(self._emulator.sender.resolve)

    async def describe_control(self, request: Request) -> Response:
        """The control plane as OpenAPI."""
        url = str(request.base_url).rstrip("/")
        return JSONResponse(openapi.build_control_document(url, self.routes, self._documentation))

    async def describe_thingspace(self, request: Request) -> Response:
        """ThingSpace's face as OpenAPI."""
        return JSONResponse(openapi.build_thingspace_document(f"{request.base_url}api"))

    def _clock_to_json(self) -> dict[str, Any]:
        now = self._emulator.clock.now()
        return {"now": format_timestamp(now), "seconds": now, "frozen": self._emulator.clock.frozen}

    def _route(self, path: str, **handlers: Handler) -> Route:
        full = f"/_emulator/{path}"
        self._documentation |= {(method, full): handler.__doc__ or "" for method, handler in handlers.items()}

        async def endpoint(request: Request) -> Response:
            try:
                return await handlers[request.method if request.method != "HEAD" else "GET"](request)
            except (InvalidAddress, InvalidRequest, InvalidFault, InvalidState, InvalidSwitch) as error:
                return JSONResponse({"error": str(error)}, 400)

        return Route(full, endpoint, methods=list(handlers), name=path)
