"""The control plane: what a test or a person does to the emulator that nobody can do to ThingSpace."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from thingspace_provider.emulator import openapi
from thingspace_provider.emulator.answers import Refused
from thingspace_provider.emulator.assembly import Emulator
from thingspace_provider.emulator.bodies import read_device
from thingspace_provider.emulator.faults import BadRule
from thingspace_provider.emulator.history import timestamp
from thingspace_provider.emulator.sender import BadAddress
from thingspace_provider.emulator.state import BadState, export_world, fits, import_world
from thingspace_provider.emulator.switches import UnknownSwitch
from thingspace_provider.emulator.world import Account, Device, invented_device

BODY_BYTES = 1024 * 1024
STATE_BYTES = 256 * 1024 * 1024
MOST_TEXTS = 100_000
LONGEST_MOVE = 10 * 366 * 24 * 3600
LONGEST_WAIT = 60.0
SHOWN = 1000

Handler = Callable[[Request], Awaitable[Response]]


class BadInput(ValueError):
    """A control request that makes no sense; the text says what would."""


class ControlPlane:
    """The handlers of `/_emulator/`: JSON in, JSON out, 400 `{"error"}` for what makes no sense."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._documentation: dict[tuple[str, str], str] = {}
        self.routes = [
            self._route("connection", GET=self.show_connection),
            self._route("messages", POST=self.send_text),
            self._route("queue", GET=self.show_queue),
            self._route("journal", GET=self.show_journal, DELETE=self.clear_journal),
            self._route("faults", GET=self.show_faults, POST=self.arm_fault, DELETE=self.clear_faults),
            self._route("faults/{number:int}", DELETE=self.disarm_fault),
            self._route("clock", GET=self.show_clock, POST=self.move_clock),
            self._route("switches", GET=self.show_switches, PUT=self.put_switches),
            self._route("state", GET=self.show_state, PUT=self.put_state),
            self._route("reset", POST=self.reset),
            self._route("accounts", GET=self.show_accounts, POST=self.add_account),
            self._route("devices", GET=self.show_devices, POST=self.put_device),
            self._route("users", GET=self.show_users),
            self._route("users/unlock", POST=self.unlock),
            self._route("commands", GET=self.show_commands),
            self._route("archive", GET=self.show_archive),
            self._route("archive/resend", POST=self.resend),
            self._route("settled", GET=self.settled),
            self._route("resolve", GET=self.show_resolve, PUT=self.put_resolve),
            self._route("openapi.json", GET=self.describe_control),
            self._route("thingspace.openapi.json", GET=self.describe_thingspace),
        ]

    async def show_connection(self, request: Request) -> Response:
        """What a client needs to talk to this emulator; its credentials are invented."""
        return JSONResponse(self._emulator.connection(f"{request.base_url}api"))

    async def send_text(self, request: Request) -> Response:
        """A device sends a text, or the same one `repeat` times; the first device of the account unless named."""
        body = await _object(request, {"accountName", "message", "deviceIds", "repeat"})
        name, account = self._account(body.get("accountName"))
        message = body.get("message")
        if not isinstance(message, str):
            raise BadInput("message is a string: what the device sends")
        repeat = body.get("repeat", 1)
        if not fits(repeat, int) or not 1 <= repeat <= MOST_TEXTS:
            raise BadInput(f"repeat is a whole number from 1 to {MOST_TEXTS}")
        device = self._device(account, body.get("deviceIds"))
        numbers = [self._emulator.platform.text_from_device(name, device, message).number for _ in range(repeat)]
        return JSONResponse({"accountName": name, "number": numbers[-1], "count": len(numbers)}, 202)

    async def show_queue(self, request: Request) -> Response:
        """The texts of an account that wait, without touching them; `count` is all, `messages` at most 1000."""
        _, account = self._account(request.query_params.get("accountName"))
        shown = [
            {"number": text.number, "deviceIds": _ids(text.device), "message": text.message}
            | {"timestamp": timestamp(text.received)}
            for text, _ in zip(account.queue.values(), range(SHOWN), strict=False)
        ]
        return JSONResponse({"count": len(account.queue), "inFlight": len(account.in_flight), "messages": shown})

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

    async def arm_fault(self, request: Request) -> Response:
        """Arm one fault."""
        return JSONResponse(self._emulator.faults.arm(await _json(request)).as_json(), 201)

    async def clear_faults(self, request: Request) -> Response:
        """Disarm every fault."""
        del request
        self._emulator.faults.clear()
        return JSONResponse({})

    async def disarm_fault(self, request: Request) -> Response:
        """Disarm one fault."""
        if not self._emulator.faults.disarm(request.path_params["number"]):
            raise BadInput(f"there is no fault {request.path_params['number']}")
        return JSONResponse({})

    async def show_clock(self, request: Request) -> Response:
        """The virtual time."""
        del request
        return JSONResponse(self._clock())

    async def move_clock(self, request: Request) -> Response:
        """Stop or start the clock (`frozen`), then move it by `advanceSeconds`.

        The answer comes when all that fell due on the way is done.
        """
        body = await _object(request, {"advanceSeconds", "frozen"})
        seconds = _number(body, "advanceSeconds", 0, 0, LONGEST_MOVE)
        frozen = body.get("frozen", self._emulator.clock.frozen)
        if not isinstance(frozen, bool):
            raise BadInput("frozen is true or false")
        if not body:
            raise BadInput("a clock is moved by advanceSeconds or stopped and started by frozen")
        self._emulator.clock.set(self._emulator.clock.now(), frozen=frozen)
        await self._emulator.clock.advance(seconds)
        return JSONResponse(self._clock())

    async def show_switches(self, request: Request) -> Response:
        """Every switch and its value."""
        del request
        return JSONResponse(self._emulator.switches.as_dict())

    async def put_switches(self, request: Request) -> Response:
        """Set the given switches, leave the others."""
        body = await _json(request)
        if not isinstance(body, dict):
            raise BadInput("the body is a JSON object of switches")
        self._emulator.switches.put(body)
        return JSONResponse(self._emulator.switches.as_dict())

    async def show_state(self, request: Request) -> Response:
        """Everything that a restart should not lose, passwords included."""
        del request
        return JSONResponse(export_world(self._emulator.world))

    async def put_state(self, request: Request) -> Response:
        """Go on with an exported state; what is under way is dropped."""
        await self._emulator.become(import_world(await _json(request, STATE_BYTES)))
        return JSONResponse({})

    async def reset(self, request: Request) -> Response:
        """Back to how it started."""
        del request
        await self._emulator.reset()
        return JSONResponse({})

    async def show_accounts(self, request: Request) -> Response:
        """Every account with its listeners and the number of its texts; passwords masked."""
        del request
        return JSONResponse({"accounts": [self.account_summary(name) for name in self._emulator.world.accounts]})

    async def add_account(self, request: Request) -> Response:
        """A new account with one device, for every user or for the one named."""
        body = await _object(request, {"accountName", "username"})
        name, username = body.get("accountName"), body.get("username")
        world = self._emulator.world
        if not isinstance(name, str) or not name or "/" in name:
            raise BadInput("accountName is a string without a slash, such as 0000123456-00001")
        if name in world.accounts:
            raise BadInput(f"there is an account {name} already")
        if username is not None and username not in list(world.users):
            raise BadInput(f"there is no user {username!r}")
        account = world.accounts[name] = Account()
        account.add(invented_device(len(world.accounts), 1))
        for user_name, user in world.users.items():
            if username in {None, user_name}:
                user.accounts.append(name)
        return JSONResponse(self.account_summary(name), 201)

    async def show_devices(self, request: Request) -> Response:
        """An account's devices."""
        _, account = self._account(request.query_params.get("accountName"))
        return JSONResponse({"devices": [_device(device) for device in account.devices]})

    async def put_device(self, request: Request) -> Response:
        """Add a device, or change whether a known one is `active` and `reachable`, its group, plan and fields."""
        body = await _object(
            request, {"accountName", "deviceIds", "active", "reachable", "groupName", "servicePlan", "customFields"}
        )
        _, account = self._account(body.get("accountName"))
        changes: dict[str, Any] = {}
        for key, name, kind in (
            ("active", "active", bool),
            ("reachable", "reachable", bool),
            ("groupName", "group", str),
            ("servicePlan", "plan", str),
            ("customFields", "custom_fields", dict[str, str]),
        ):
            if key in body:
                changes[name] = body[key]
                if not fits(body[key], kind):
                    raise BadInput(f"{key} is not of the type {getattr(kind, '__name__', kind)}")
        device = self._device(account, body.get("deviceIds"))
        for name, value in changes.items():
            setattr(device, name, value)
        self._emulator.platform.device_changed(device)
        return JSONResponse(_device(device))

    async def show_users(self, request: Request) -> Response:
        """Every user, with strikes and lock."""
        del request
        return JSONResponse(
            {
                "users": [
                    {"username": name, "strikes": user.strikes, "locked": user.locked, "accounts": user.accounts}
                    for name, user in self._emulator.world.users.items()
                ]
            }
        )

    async def unlock(self, request: Request) -> Response:
        """What Verizon's support does after a call: the user may log in again."""
        body = await _object(request, {"username"})
        username = body.get("username")
        user = self._emulator.world.users.get(username) if isinstance(username, str) else None
        if user is None:
            raise BadInput(f"there is no user {body.get('username')!r}")
        user.strikes, user.locked = 0, False
        return JSONResponse({"username": body["username"], "strikes": 0, "locked": False})

    async def show_commands(self, request: Request) -> Response:
        """Texts to devices, with the state of each."""
        del request
        return JSONResponse(
            {
                "commands": [
                    {"requestId": one.request_id, "accountName": one.account, "deviceIds": _ids(one.device)}
                    | {"message": one.message, "state": one.state}
                    for one in self._emulator.world.commands[-SHOWN:]
                ]
            }
        )

    async def show_archive(self, request: Request) -> Response:
        """Notices no listener took, kept for 30 days."""
        del request
        return JSONResponse(
            {
                "archive": [
                    {"requestId": one.request_id, "accountName": one.account, "serviceName": one.service}
                    for one in self._emulator.platform.archive()
                ]
            }
        )

    async def resend(self, request: Request) -> Response:
        """What Verizon's support does with a request id."""
        body = await _object(request, {"requestId"})
        if not isinstance(body.get("requestId"), str):
            raise BadInput("requestId is a string")
        return JSONResponse({"count": self._emulator.platform.resend(body["requestId"])})

    async def settled(self, request: Request) -> Response:
        """Answer once nothing is under way, at most `timeoutSeconds` (of the wall clock) from now."""
        try:
            seconds = min(LONGEST_WAIT, float(request.query_params.get("timeoutSeconds", "5")))
        except ValueError:
            raise BadInput("timeoutSeconds is a number") from None
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._emulator.platform.idle(), seconds)
        return JSONResponse({"settled": self._emulator.platform.in_flight == 0})

    async def show_resolve(self, request: Request) -> Response:
        """Which addresses stand for which listeners."""
        del request
        return JSONResponse(self._emulator.sender.resolve)

    async def put_resolve(self, request: Request) -> Response:
        """Let an address of this machine stand for a listener: `{"hooks.example.net:443": "127.0.0.1:8443"}`."""
        body = await _json(request)
        self._emulator.sender.resolve_as(body)
        return JSONResponse(self._emulator.sender.resolve)

    async def describe_control(self, request: Request) -> Response:
        """The control plane as OpenAPI."""
        url = str(request.base_url).rstrip("/")
        return JSONResponse(openapi.control(url, self.routes, self._documentation))

    async def describe_thingspace(self, request: Request) -> Response:
        """ThingSpace's face as OpenAPI."""
        return JSONResponse(openapi.thingspace(f"{request.base_url}api"))

    def account_summary(self, name: str) -> dict[str, Any]:
        """An account as the control plane shows it."""
        account = self._emulator.world.accounts[name]
        return {
            "accountName": name,
            "devices": len(account.devices),
            "queued": len(account.queue),
            "inFlight": len(account.in_flight),
            "listeners": [
                {"serviceName": service, "url": one.url, "username": one.username}
                | {"password": "***" if one.password else None}
                for service, one in account.registrations.items()
            ],
        }

    def _account(self, name: Any) -> tuple[str, Account]:
        account = self._emulator.world.accounts.get(name) if isinstance(name, str) else None
        if account is None:
            known = ", ".join(self._emulator.world.accounts)
            raise BadInput(f"there is no account {name!r}; there are: {known}")
        return name, account

    def _device(self, account: Account, ids: Any) -> Device:
        """The device of these identifiers, added if the account does not have it; without any, the first one."""
        if ids is None:
            return account.devices[0] if account.devices else account.add(invented_device(0, 1))
        if not isinstance(ids, list) or not ids:
            raise BadInput("deviceIds is a list of {kind, id}")
        try:
            pairs = [read_device(entry) for entry in ids]
        except Refused as refusal:
            raise BadInput(f"deviceIds: {json.loads(refusal.answer.body)['errorMessage']}") from refusal
        return next((found for pair in pairs if (found := account.find(*pair))), None) or account.add(
            Device(dict(pairs))
        )

    def _clock(self) -> dict[str, Any]:
        now = self._emulator.clock.now()
        return {"now": timestamp(now), "seconds": now, "frozen": self._emulator.clock.frozen}

    def _route(self, path: str, **handlers: Handler) -> Route:
        full = f"/_emulator/{path}"
        self._documentation |= {(method, full): handler.__doc__ or "" for method, handler in handlers.items()}

        async def endpoint(request: Request) -> Response:
            try:
                return await handlers[request.method if request.method != "HEAD" else "GET"](request)
            except (BadAddress, BadInput, BadRule, BadState, UnknownSwitch) as error:
                return JSONResponse({"error": str(error)}, 400)

        return Route(full, endpoint, methods=list(handlers), name=path)


async def _json(request: Request, limit: int = BODY_BYTES) -> Any:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadInput("the body is JSON, and its Content-Type is application/json")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > limit:
        raise BadInput(f"the body is larger than {limit} bytes")
    try:
        value = json.loads(b"".join(chunks))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body is not JSON: {error}") from error
    return value


async def _object(request: Request, keys: set[str]) -> dict[str, Any]:
    value = await _json(request)
    if not isinstance(value, dict):
        raise BadInput(f"the body is a JSON object with: {', '.join(sorted(keys))}")
    if unknown := sorted(set(value) - keys):
        raise BadInput(f"there is no {', '.join(unknown)} here; there is: {', '.join(sorted(keys))}")
    return value


def _number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise BadInput(f"{name} is a number from {least} to {most}")
    return value


def _ids(device: Device) -> list[dict[str, str]]:
    return [{"kind": kind, "id": value} for kind, value in device.ids.items()]


def _device(device: Device) -> dict[str, Any]:
    return {
        "deviceIds": _ids(device),
        "active": device.active,
        "reachable": device.reachable,
        "groupName": device.group,
        "servicePlan": device.plan,
        "customFields": device.custom_fields,
    }
