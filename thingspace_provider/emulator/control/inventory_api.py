"""What exists, for the control plane: accounts, devices, users, texts to devices, archived notices."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thingspace_provider.emulator.control.request_parsing import (
    BadInput,
    device_ids,
    find_account,
    find_device,
    read_object,
)
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.journal import masked
from thingspace_provider.emulator.platform.state import Account, Device, invented_device
from thingspace_provider.emulator.platform.state_json import fits

SHOWN = 1000


class Inventory:
    """Handlers that show and change what exists."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def show_accounts(self, request: Request) -> Response:
        """Every account with its listeners and the number of its texts; passwords masked."""
        del request
        return JSONResponse({"accounts": [self.account_summary(name) for name in self._emulator.world.accounts]})

    async def add_account(self, request: Request) -> Response:
        """A new account with one device, for every user or for the one named."""
        body = await read_object(request, {"accountName", "username"})
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
        _, account = find_account(self._emulator, request.query_params.get("accountName"))
        return JSONResponse({"devices": [_device(device) for device in account.devices]})

    async def put_device(self, request: Request) -> Response:
        """Add a device, or change whether a known one is `active` and `reachable`, its group, plan and fields."""
        body = await read_object(
            request, {"accountName", "deviceIds", "active", "reachable", "groupName", "servicePlan", "customFields"}
        )
        _, account = find_account(self._emulator, body.get("accountName"))
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
        device = find_device(account, body.get("deviceIds"))
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
        body = await read_object(request, {"username"})
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
                    {"requestId": one.request_id, "accountName": one.account, "deviceIds": device_ids(one.device)}
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
        body = await read_object(request, {"requestId"})
        if not isinstance(body.get("requestId"), str):
            raise BadInput("requestId is a string")
        return JSONResponse({"count": self._emulator.platform.resend(body["requestId"])})

    def account_summary(self, name: str) -> dict[str, Any]:
        """An account as the control plane shows it."""
        account = self._emulator.world.accounts[name]
        return {
            "accountName": name,
            "devices": len(account.devices),
            "queued": len(account.queue),
            "inFlight": len(account.in_flight),
            "listeners": [
                {"serviceName": service, "url": masked(one.url), "username": one.username}
                | {"password": "***" if one.password else None}
                for service, one in account.registrations.items()
            ],
        }


def _device(device: Device) -> dict[str, Any]:
    return {
        "deviceIds": device_ids(device),
        "active": device.active,
        "reachable": device.reachable,
        "groupName": device.group,
        "servicePlan": device.plan,
        "customFields": device.custom_fields,
    }
