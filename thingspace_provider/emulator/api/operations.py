"""What each call of ThingSpace does once the gateway has let it through."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from thingspace_provider.emulator.api.authentication import Identity
from thingspace_provider.emulator.api.history import read_history
from thingspace_provider.emulator.api.request_bodies import (
    Order,
    read_listener,
    read_object,
    read_order,
    refuse,
    required,
)
from thingspace_provider.emulator.api.responses import (
    CALLBACK_PREFIX,
    SESSION_PREFIX,
    SMS_PREFIX,
    Answer,
    answer_empty,
    answer_json,
)
from thingspace_provider.emulator.platform.message_router import Platform
from thingspace_provider.emulator.platform.state import Account, Command, Device, Registration, World
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import Clock

MIXED_SECONDS = 14 * 60
"""How long old and new password were seen side by side after a re-registration."""


@dataclass(frozen=True, slots=True)
class Call:
    """A routed request: `account` and `service` come from its path, `username` from its session."""

    operation: str
    body: bytes
    account: str = ""
    service: str = ""
    next: str | None = None
    authorization: str | None = None
    session: str = ""
    username: str = ""


class Operations:
    """The calls themselves; account and body are checked here, in this order."""

    def __init__(self, world: World, clock: Clock, switches: Switches, identity: Identity, platform: Platform) -> None:
        self._world, self._clock, self._switches = world, clock, switches
        self._identity, self._platform = identity, platform
        self.by_name = {
            "token": lambda call: identity.issue(call.authorization, call.body),
            "revoke": lambda call: identity.revoke(call.authorization, call.body),
            "login": self.login,
            "logout": lambda call: identity.logout(call.session),
            "resetPassword": self.reset_password,
            "listCallbacks": self.list_callbacks,
            "registerCallback": self.register_callback,
            "deregisterCallback": self.deregister_callback,
            "sendSms": self.send_sms,
            "smsHistory": self.sms_history,
            "startCallbacks": self.start_callbacks,
        }

    def login(self, call: Call) -> Answer:
        """Body `{"username", "password"}`."""
        value = read_object(call.body, SESSION_PREFIX, self._switches)
        username, password = (required(value, name, SESSION_PREFIX) for name in ("username", "password"))
        return self._identity.login(username, password)

    def reset_password(self, call: Call) -> Answer:
        """Body `{"oldPassword"}`."""
        value = read_object(call.body, SESSION_PREFIX, self._switches)
        return self._identity.reset_password(call.username, required(value, "oldPassword", SESSION_PREFIX))

    def list_callbacks(self, call: Call) -> Answer:
        """Every listener of the account, passwords in clear, as ThingSpace does it."""
        account = self._account(call)
        if not account.registrations:
            return {
                "zeroLength": answer_empty(),
                "array": answer_json([]),
                "null": answer_json(None),
            }[self._switches["emptyCallbackList"]]
        return answer_json([self._listed(call.account, name, one) for name, one in account.registrations.items()])

    def register_callback(self, call: Call) -> Answer:
        """One listener for each service of an account."""
        account = self._account(call)
        wanted = read_listener(call.body, self._switches)
        user = self._world.users[call.username]
        if wanted.username == call.username and wanted.password == user.password:
            raise refuse(
                CALLBACK_PREFIX, "INPUT_INVALID.Emulator.OwnCredentials", "A listener's credentials must be its own."
            )
        old = account.registrations.get(wanted.name)
        if old is not None and self._switches["reregistration"] == "refused":
            raise refuse(CALLBACK_PREFIX, "REQUEST_FAILED.Emulator.AlreadyRegistered", "The service is registered.")
        new = Registration(wanted.url, wanted.username, wanted.password)
        if old is not None and old.password != new.password:
            new.previous_password, new.mixed_until = old.password, self._clock.now() + MIXED_SECONDS
        account.registrations[wanted.name] = new
        return answer_json({"accountName": call.account, "serviceName": wanted.name})

    def deregister_callback(self, call: Call) -> Answer:
        """The listener of a service is no more; what comes next is queued."""
        account = self._account(call)
        if account.registrations.pop(call.service, None) is None and self._switches["deregisterUnknown"] == "refused":
            raise refuse(CALLBACK_PREFIX, "REQUEST_FAILED.UnexpectedError", "The service is not registered.")
        return answer_json({"accountName": call.account, "serviceName": call.service})

    def send_sms(self, call: Call) -> Answer:
        """One request, one request id, one command for each device."""
        order = read_order(call.body, self._switches)
        name = order.account if order.account is not None else self._only_account(call.username)
        account = self._account(call, name)
        request_id, now = str(uuid.uuid4()), self._clock.now()
        for device in self._chosen(account, order):
            self._platform.text_to_device(Command(request_id, name, device, order.message, now, now + order.life))
        return answer_json({"requestId": request_id})

    def sms_history(self, call: Call) -> Answer:
        """A block of the queue."""
        return read_history(call.account, self._account(call), call.next, self._switches)

    def start_callbacks(self, call: Call) -> Answer:
        """Accepted: that is all the answer means."""
        self._account(call)
        self._platform.start_callbacks(call.account)
        return answer_json({"success": True})

    def _account(self, call: Call, name: str | None = None) -> Account:
        wanted = call.account if name is None else name
        account = self._world.accounts.get(wanted)
        if account is None:
            raise refuse(SESSION_PREFIX, "REQUEST_FAILED.AccountNotFound", f"Could not find account {wanted}.")
        if wanted not in self._world.users[call.username].accounts:
            raise refuse(SESSION_PREFIX, "REQUEST_FAILED.AccountName", "The user is not associated with the account.")
        return account

    def _only_account(self, username: str) -> str:
        accounts = self._world.users[username].accounts
        if not accounts:
            raise refuse(SMS_PREFIX, "REQUEST_FAILED.NoAccounts", "The user has no account.")
        if len(accounts) > 1:
            raise refuse(SMS_PREFIX, "REQUEST_FAILED.MultipleAccounts", "The account must be named.")
        return accounts[0]

    def _chosen(self, account: Account, order: Order) -> list[Device]:
        devices = [account.find(kind, value) for kind, value in order.devices] if order.devices else account.devices
        chosen = [device for device in devices if device is not None]
        if len(chosen) < len(devices):
            raise refuse(SMS_PREFIX, "REQUEST_FAILED.DeviceNotFound", "A device is not on the account.")
        if order.group is not None:
            if order.group not in {device.group for device in account.devices}:
                raise refuse(SMS_PREFIX, "REQUEST_FAILED.DeviceGroupNotFound", "There is no such device group.")
            chosen = [device for device in chosen if device.group == order.group]
        if order.plan is not None:
            if order.plan not in {device.plan for device in account.devices}:
                raise refuse(SMS_PREFIX, "REQUEST_FAILED.servicePlan.NotFound", "There is no such service plan.")
            chosen = [device for device in chosen if device.plan == order.plan]
        chosen = [d for d in chosen if all(d.custom_fields.get(key) == value for key, value in order.custom_fields)]
        if not all(device.active for device in chosen):
            raise refuse(SMS_PREFIX, "INPUT_INVALID.DeviceState.Invalid", "A device is not active.")
        return list({id(device): device for device in chosen}.values())

    def _listed(self, account: str, service: str, listener: Registration) -> dict[str, str]:
        entry = {"accountName": account, "serviceName": service, "url": listener.url}
        if self._switches["unsetCredentials"] == "emptyStrings":
            return {**entry, "username": listener.username or "", "password": listener.password or ""}
        given = {"username": listener.username, "password": listener.password}
        return {**entry, **{name: value for name, value in given.items() if value}}
