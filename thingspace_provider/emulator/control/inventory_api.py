"""Inventory part of the control API: accounts, devices, users, outbound messages, archived callbacks."""

from __future__ import annotations

import json
from typing import Any

from thingspace_provider.emulator.api.authentication import LOCKOUT_THRESHOLD
from thingspace_provider.emulator.api.request_bodies import parse_device_id
from thingspace_provider.emulator.api.responses import RequestRejected
from thingspace_provider.emulator.control.endpoint import Endpoint, InvalidRequest
from thingspace_provider.emulator.control.requests import (
    AccountQuery,
    AddAccountRequest,
    DeviceId,
    ListenerRequest,
    PutDeviceRequest,
    ResendRequest,
    UserRequest,
)
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.journal import mask_url
from thingspace_provider.emulator.platform.state import Account, Device, sample_device

MAX_OUTBOUND_MESSAGES = 1000
DEVICE_FIELDS = {"active": "active", "reachable": "reachable", "group_name": "group", "service_plan": "plan"} | {
    "custom_fields": "custom_fields"
}
"""Field of a request -> field of a device."""


class InventoryApi:
    """Handlers that show and change the platform state."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.endpoints = [
            Endpoint("GET", "accounts", self.show_accounts),
            Endpoint("POST", "accounts", self.add_account, body=AddAccountRequest, status=201),
            Endpoint("GET", "devices", self.show_devices, query=AccountQuery),
            Endpoint("POST", "devices", self.put_device, body=PutDeviceRequest),
            Endpoint("GET", "users", self.show_users),
            Endpoint("POST", "users/lock", self.lock, body=UserRequest),
            Endpoint("POST", "users/unlock", self.unlock, body=UserRequest),
            Endpoint("POST", "listeners/drop", self.drop_listener, body=ListenerRequest),
            Endpoint("POST", "listeners/restore", self.restore_listener, body=ListenerRequest),
            Endpoint("GET", "outbound-messages", self.show_outbound_messages),
            Endpoint("GET", "archive", self.show_archive),
            Endpoint("POST", "archive/resend", self.resend, body=ResendRequest),
        ]

    def show_accounts(self) -> dict[str, Any]:
        """Show every account with its listeners and the number of its messages; passwords are masked."""
        return {"accounts": [self._summarize_account(name) for name in self._emulator.state.accounts]}

    def add_account(self, body: AddAccountRequest) -> dict[str, Any]:
        """Add an account with one device, for every user or for one."""
        state, name = self._emulator.state, body.account_name
        if name in state.accounts:
            raise InvalidRequest(f"accountName: there is an account {name} already")
        if body.username is not None and body.username not in state.users:
            raise InvalidRequest(f"username: there is no user {body.username!r}")
        account = state.accounts[name] = Account()
        account.add(sample_device(len(state.accounts), 1))
        for username, user in state.users.items():
            if body.username in {None, username}:
                user.accounts.append(name)
        return self._summarize_account(name)

    def show_devices(self, query: AccountQuery) -> dict[str, Any]:
        """Show the devices of an account."""
        account = find_account(self._emulator, query.account_name)
        return {"devices": [_device_to_json(device) for device in account.devices]}

    def put_device(self, body: PutDeviceRequest) -> dict[str, Any]:
        """Add a device, or change a known one."""
        device = find_device(find_account(self._emulator, body.account_name), body.device_ids)
        for field, value in body.model_dump(include={*DEVICE_FIELDS}, exclude_none=True).items():
            setattr(device, DEVICE_FIELDS[field], value)
        self._emulator.router.on_device_changed(device)
        return _device_to_json(device)

    def show_users(self) -> dict[str, Any]:
        """Show every user with its failed logins in a row."""
        return {
            "users": [
                {"username": name, "failedLogins": user.failed_logins, "locked": user.locked}
                | {"accounts": user.accounts}
                for name, user in self._emulator.state.users.items()
            ]
        }

    def lock(self, body: UserRequest) -> dict[str, Any]:
        """Lock a user, as five failed logins in a row do."""
        return self._set_failed_logins(body.username, LOCKOUT_THRESHOLD)

    def unlock(self, body: UserRequest) -> dict[str, Any]:
        """Unlock a user, as Verizon's support does."""
        return self._set_failed_logins(body.username, 0)

    def drop_listener(self, body: ListenerRequest) -> dict[str, Any]:
        """Remove the registration of a listener without a call of its client. It can be restored."""
        account = find_account(self._emulator, body.account_name)
        registration = account.registrations.pop(body.service_name, None)
        if registration is None:
            raise InvalidRequest(f"serviceName: {body.account_name} has no listener of {body.service_name!r}")
        account.dropped[body.service_name] = registration
        return self._summarize_account(body.account_name)

    def restore_listener(self, body: ListenerRequest) -> dict[str, Any]:
        """Restore a dropped registration as it was. Messages that were queued meanwhile stay in the queue."""
        account = find_account(self._emulator, body.account_name)
        registration = account.dropped.pop(body.service_name, None)
        if registration is None:
            raise InvalidRequest(f"serviceName: {body.account_name} has no dropped listener of {body.service_name!r}")
        account.registrations.setdefault(body.service_name, registration)
        return self._summarize_account(body.account_name)

    def show_outbound_messages(self) -> dict[str, Any]:
        """Show the newest 1,000 messages to devices, with their states."""
        return {
            "outboundMessages": [
                {"requestId": message.request_id, "accountName": message.account}
                | {"deviceIds": device_ids_to_json(message.ids), "message": message.text, "state": message.state}
                for message in self._emulator.state.outbound_messages[-MAX_OUTBOUND_MESSAGES:]
            ]
        }

    def show_archive(self) -> dict[str, Any]:
        """Show the callbacks that no listener acknowledged. They are kept for 30 days."""
        return {
            "archive": [
                {"requestId": callback.request_id, "accountName": callback.account, "serviceName": callback.service}
                for callback in self._emulator.router.archive()
            ]
        }

    def resend(self, body: ResendRequest) -> dict[str, Any]:
        """Send the archived callbacks of a request again, as Verizon's support does."""
        return {"count": self._emulator.router.resend(body.request_id)}

    def _set_failed_logins(self, username: str, count: int) -> dict[str, Any]:
        user = self._emulator.state.users.get(username)
        if user is None:
            raise InvalidRequest(f"username: there is no user {username!r}")
        user.failed_logins, user.locked = count, count >= LOCKOUT_THRESHOLD
        return {"username": username, "failedLogins": user.failed_logins, "locked": user.locked}

    def _summarize_account(self, name: str) -> dict[str, Any]:
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
            "droppedListeners": [service for service in account.dropped if service not in account.registrations],
        }


def find_account(emulator: Emulator, name: str) -> Account:
    """Find an account. Raises InvalidRequest with the existing ones."""
    account = emulator.state.accounts.get(name)
    if account is None:
        existing = ", ".join(emulator.state.accounts)
        raise InvalidRequest(f"accountName: there is no account {name!r}; existing accounts: {existing}")
    return account


def find_device(account: Account, ids: list[DeviceId] | None) -> Device:
    """Find a device of an account, or add it. Without identifiers it is the first one. Raises InvalidRequest."""
    if ids is None:
        return account.devices[0] if account.devices else account.add(sample_device(0, 1))
    try:
        pairs = [parse_device_id(device_id.model_dump()) for device_id in ids]
    except RequestRejected as error:
        raise InvalidRequest(f"deviceIds: {json.loads(error.response.body)['errorMessage']}") from error
    return next((device for pair in pairs if (device := account.find(*pair))), None) or account.add(Device(dict(pairs)))


def device_ids_to_json(ids: dict[str, str]) -> list[dict[str, str]]:
    """Return identifiers as `[{"kind", "id"}]`."""
    return [{"kind": kind, "id": value} for kind, value in ids.items()]


def _device_to_json(device: Device) -> dict[str, Any]:
    return {
        "deviceIds": device_ids_to_json(device.ids),
        "active": device.active,
        "reachable": device.reachable,
        "groupName": device.group,
        "servicePlan": device.plan,
        "customFields": device.custom_fields,
    }
