"""What exists, for the control plane: accounts, devices, users, texts to devices, archived notices."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from thingspace_provider.emulator.control.request_parsing import (
    InvalidRequest,
    device_ids,
    find_account,
    find_device,
    parse_object,
)
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.journal import mask_url
from thingspace_provider.emulator.platform.state import Account, Device, sample_device
from thingspace_provider.emulator.platform.state_json import matches_type

MAX_OUTBOUND_MESSAGES = 1000


class InventoryApi:
    """Handlers that show and change what exists."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def show_accounts(self, request: Request) -> Response:
        """Every account with its listeners and the number of its texts; passwords masked."""
        del request
        return JSONResponse({"accounts": [self.summarize_account(name) for name in self._emulator.state.accounts]})

    async def add_account(self, request: Request) -> Response:
        """A new account with one device, for every user or for the one named."""
        body = await parse_object(request, {"accountName", "username"})
        name, username = body.get("accountName"), body.get("username")
        state = self._emulator.state
        if not isinstance(name, str) or not name or "/" in name:
            raise InvalidRequest("accountName is a string without a slash, such as 0000123456-00001")
        if name in state.accounts:
            raise InvalidRequest(f"there is an account {name} already")
        if username is not None and username not in list(state.users):
            raise InvalidRequest(f"there is no user {username!r}")
        account = state.accounts[name] = Account()
        account.add(sample_device(len(state.accounts), 1))
        for user_name, user in state.users.items():
            if username in {None, user_name}:
                user.accounts.append(name)
        return JSONResponse(self.summarize_account(name), 201)

    async def show_devices(self, request: Request) -> Response:
        """An account's devices."""
        _, account = find_account(self._emulator, request.query_params.get("accountName"))
        return JSONResponse({"devices": [_device_to_json(device) for device in account.devices]})

    async def put_device(self, request: Request) -> Response:
        """Add a device, or change whether a known one is `active` and `reachable`, its group, plan and fields."""
        body = await parse_object(
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
                if not matches_type(body[key], kind):
                    raise InvalidRequest(f"{key} is not of the type {getattr(kind, '__name__', kind)}")
        device = find_device(account, body.get("deviceIds"))
        for name, value in changes.items():
            setattr(device, name, value)
        self._emulator.router.on_device_changed(device)
        return JSONResponse(_device_to_json(device))

    async def show_users(self, request: Request) -> Response:
        """Every user, with strikes and lock."""
        del request
        return JSONResponse(
            {
                "users": [
                    {"username": name, "failedLogins": user.failed_logins, "locked": user.locked}
                    | {"accounts": user.accounts}
                    for name, user in self._emulator.state.users.items()
                ]
            }
        )

    async def unlock(self, request: Request) -> Response:
        """What Verizon's support does after a call: the user may log in again."""
        body = await parse_object(request, {"username"})
        username = body.get("username")
        user = self._emulator.state.users.get(username) if isinstance(username, str) else None
        if user is None:
            raise InvalidRequest(f"there is no user {body.get('username')!r}")
        user.failed_logins, user.locked = 0, False
        return JSONResponse({"username": body["username"], "failedLogins": 0, "locked": False})

    async def show_outbound_messages(self, request: Request) -> Response:
        """Texts to devices, with the state of each."""
        del request
        return JSONResponse(
            {
                "outboundMessages": [
                    {
                        "requestId": message.request_id,
                        "accountName": message.account,
                        "deviceIds": device_ids(message.device),
                    }
                    | {"message": message.text, "state": message.state}
                    for message in self._emulator.state.outbound_messages[-MAX_OUTBOUND_MESSAGES:]
                ]
            }
        )

    async def show_archive(self, request: Request) -> Response:
        """Notices no listener took, kept for 30 days."""
        del request
        return JSONResponse(
            {
                "archive": [
                    {"requestId": callback.request_id, "accountName": callback.account, "serviceName": callback.service}
                    for callback in self._emulator.router.archive()
                ]
            }
        )

    async def resend(self, request: Request) -> Response:
        """What Verizon's support does with a request id."""
        body = await parse_object(request, {"requestId"})
        if not isinstance(body.get("requestId"), str):
            raise InvalidRequest("requestId is a string")
        return JSONResponse({"count": self._emulator.router.resend(body["requestId"])})

    def summarize_account(self, name: str) -> dict[str, Any]:
        """An account as the control plane shows it."""
        account = self._emulator.state.accounts[name]
        return {
            "accountName": name,
            "devices": len(account.devices),
            "queued": len(account.queue),
            "inFlight": len(account.in_flight),
            "listeners": [
                {"serviceName": service, "url": mask_url(registration.url), "username": registration.username}
                | {"password": "***" if registration.password else None}
                for service, registration in account.registrations.items()
            ],
        }


def _device_to_json(device: Device) -> dict[str, Any]:
    return {
        "deviceIds": device_ids(device),
        "active": device.active,
        "reachable": device.reachable,
        "groupName": device.group,
        "servicePlan": device.plan,
        "customFields": device.custom_fields,
    }
