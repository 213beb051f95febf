"""Operations of the API, as the gateway calls them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from thingspace_provider.emulator.api.authentication import Authenticator
from thingspace_provider.emulator.api.history import read_history
from thingspace_provider.emulator.api.request_bodies import (
    SendRequest,
    parse_object,
    parse_registration,
    parse_send,
    required_string,
)
from thingspace_provider.emulator.api.responses import (
    CALLBACK_PREFIX,
    SESSION_PREFIX,
    SMS_PREFIX,
    ApiResponse,
    empty_response,
    json_response,
    rejection,
)
from thingspace_provider.emulator.platform.message_router import MessageRouter
from thingspace_provider.emulator.platform.state import Account, Device, OutboundMessage, PlatformState, Registration
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import VirtualClock

PASSWORD_OVERLAP_SECONDS = 14 * 60
"""Time after a re-registration in which callbacks carried the old and the new password, as measured."""


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """Call with its route. `account` and `service` come from the path, `username` from the session."""

    operation: str
    body: bytes
    account: str = ""
    service: str = ""
    next: str | None = None
    authorization: str | None = None
    session: str = ""
    username: str = ""


class Operations:
    """Executes calls. Checks the account, then the body."""

    def __init__(
        self,
        state: PlatformState,
        clock: VirtualClock,
        switches: Switches,
        authenticator: Authenticator,
        router: MessageRouter,
    ) -> None:
        self._state, self._clock, self._switches = state, clock, switches
        self._authenticator, self._router = authenticator, router
        self.by_name = {
            "token": lambda call: authenticator.issue_token(call.authorization, call.body),
            "revoke": lambda call: authenticator.revoke(call.authorization, call.body),
            "login": self.login,
            "logout": lambda call: authenticator.logout(call.session),
            "resetPassword": self.reset_password,
            "listCallbacks": self.list_callbacks,
            "registerCallback": self.register_callback,
            "deregisterCallback": self.deregister_callback,
            "sendSms": self.send_sms,
            "smsHistory": self.sms_history,
            "startCallbacks": self.start_callbacks,
        }

    def login(self, call: RoutedCall) -> ApiResponse:
        """Start a session."""
        value = parse_object(call.body, SESSION_PREFIX, self._switches)
        username, password = (required_string(value, name, SESSION_PREFIX) for name in ("username", "password"))
        return self._authenticator.login(username, password)

    def reset_password(self, call: RoutedCall) -> ApiResponse:
        """Replace the password of the user."""
        value = parse_object(call.body, SESSION_PREFIX, self._switches)
        return self._authenticator.reset_password(call.username, required_string(value, "oldPassword", SESSION_PREFIX))

    def list_callbacks(self, call: RoutedCall) -> ApiResponse:
        """List the registrations of an account, with passwords in plain text, as ThingSpace does."""
        account = self._find_account(call)
        if not account.registrations:
            return {
                "zeroLength": empty_response(),
                "array": json_response([]),
                "null": json_response(None),
            }[self._switches["emptyCallbackList"]]
        return json_response(
            [
                self._listing_entry(call.account, name, registration)
                for name, registration in account.registrations.items()
            ]
        )

    def register_callback(self, call: RoutedCall) -> ApiResponse:
        """Register the listener of a service."""
        account = self._find_account(call)
        service, new = parse_registration(call.body, self._switches)
        if (new.username, new.password) == (call.username, self._state.users[call.username].password):
            raise rejection(
                CALLBACK_PREFIX, "INPUT_INVALID.Emulator.OwnCredentials", "A listener's credentials must be its own."
            )
        old = account.registrations.get(service)
        if old is not None and self._switches["reregistration"] == "rejected":
            raise rejection(CALLBACK_PREFIX, "REQUEST_FAILED.Emulator.AlreadyRegistered", "The service is registered.")
        if old is not None and old.password != new.password:
            new.previous_password = old.password
            new.password_overlap_until = self._clock.now() + PASSWORD_OVERLAP_SECONDS
        account.registrations[service] = new
        return json_response({"accountName": call.account, "serviceName": service})

    def deregister_callback(self, call: RoutedCall) -> ApiResponse:
        """Deregister the listener of a service."""
        account = self._find_account(call)
        if account.registrations.pop(call.service, None) is None and self._switches["deregisterUnknown"] == "rejected":
            raise rejection(CALLBACK_PREFIX, "REQUEST_FAILED.UnexpectedError", "The service is not registered.")
        return json_response({"accountName": call.account, "serviceName": call.service})

    def send_sms(self, call: RoutedCall) -> ApiResponse:
        """Send a message to each selected device, all with one request id."""
        request = parse_send(call.body, self._switches)
        name = request.account if request.account is not None else self._find_only_account(call.username)
        account = self._find_account(call, name)
        request_id, now = str(uuid.uuid4()), self._clock.now()
        for device in self._select_devices(account, request):
            self._router.send_to_device(
                OutboundMessage(request_id, name, device.ids, request.message, now, now + request.ttl_seconds)
            )
        return json_response({"requestId": request_id})

    def sms_history(self, call: RoutedCall) -> ApiResponse:
        """Return a history page."""
        return read_history(call.account, self._find_account(call), call.next, self._switches)

    def start_callbacks(self, call: RoutedCall) -> ApiResponse:
        """Start to deliver the queue. The response does not wait for it."""
        self._find_account(call)
        self._router.start_callbacks(call.account)
        return json_response({"success": True})

    def _find_account(self, call: RoutedCall, name: str | None = None) -> Account:
        account_name = call.account if name is None else name
        account = self._state.accounts.get(account_name)
        if account is None:
            raise rejection(SESSION_PREFIX, "REQUEST_FAILED.AccountNotFound", f"Could not find account {account_name}.")
        if account_name not in self._state.users[call.username].accounts:
            raise rejection(
                SESSION_PREFIX, "REQUEST_FAILED.AccountName", "The user is not associated with the account."
            )
        return account

    def _find_only_account(self, username: str) -> str:
        accounts = self._state.users[username].accounts
        if not accounts:
            raise rejection(SMS_PREFIX, "REQUEST_FAILED.NoAccounts", "The user has no account.")
        if len(accounts) > 1:
            raise rejection(SMS_PREFIX, "REQUEST_FAILED.MultipleAccounts", "The account must be named.")
        return accounts[0]

    def _select_devices(self, account: Account, request: SendRequest) -> list[Device]:
        devices = [account.find(kind, value) for kind, value in request.devices] if request.devices else account.devices
        selected = [device for device in devices if device is not None]
        if len(selected) < len(devices):
            raise rejection(SMS_PREFIX, "REQUEST_FAILED.DeviceNotFound", "A device is not on the account.")
        if request.group is not None:
            if request.group not in {device.group for device in account.devices}:
                raise rejection(SMS_PREFIX, "REQUEST_FAILED.DeviceGroupNotFound", "There is no such device group.")
            selected = [device for device in selected if device.group == request.group]
        if request.plan is not None:
            if request.plan not in {device.plan for device in account.devices}:
                raise rejection(SMS_PREFIX, "REQUEST_FAILED.servicePlan.NotFound", "There is no such service plan.")
            selected = [device for device in selected if device.plan == request.plan]
        selected = [
            device
            for device in selected
            if all(device.custom_fields.get(key) == value for key, value in request.custom_fields)
        ]
        if not all(device.active for device in selected):
            raise rejection(SMS_PREFIX, "INPUT_INVALID.DeviceState.Invalid", "A device is not active.")
        return list({id(device): device for device in selected}.values())

    def _listing_entry(self, account: str, service: str, registration: Registration) -> dict[str, str]:
        entry = {"accountName": account, "serviceName": service, "url": registration.url}
        if self._switches["unsetCredentials"] == "emptyStrings":
            return {**entry, "username": registration.username or "", "password": registration.password or ""}
        credentials = {"username": registration.username, "password": registration.password}
        return {**entry, **{name: value for name, value in credentials.items() if value}}
