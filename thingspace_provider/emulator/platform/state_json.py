"""JSON of the platform state, for export, import and the state file."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, ValidationError

from thingspace_provider.emulator.platform.state import (
    Account,
    ArchivedCallback,
    Device,
    DeviceMessage,
    HistoryPage,
    OutboundMessage,
    PlatformState,
    Registration,
    Session,
    Timestamp,
    Token,
    User,
)
from thingspace_provider.emulator.platform.validation import StrictModel, describe_errors

DeviceIndex = Annotated[int, Field(ge=0, description="Position of the device in the account's list.")]


class InvalidState(ValueError):
    """A state that cannot be imported; the message names the position."""


class QueuedMessageJson(StrictModel):
    """Message in ThingSpace's queue."""

    number: int
    device: DeviceIndex
    text: str
    received: Timestamp


class OutboundMessageJson(StrictModel):
    """Message to a device."""

    request_id: str
    account: str
    device: DeviceIndex
    text: str
    accepted: Timestamp
    expires: Timestamp
    state: Literal["queued", "sent", "delivered", "expired"]


class AccountJson(StrictModel):
    """Account with its devices, registrations and queue. Messages in flight are exported as queued."""

    devices: list[Device]
    registrations: dict[str, Registration]
    queue: list[QueuedMessageJson]
    history_page: HistoryPage | None
    acknowledged_token: str | None


class StateJson(StrictModel):
    """Platform state, with the credentials of the emulator and of its listeners."""

    version: Literal[1]
    request_id_namespace: UUID
    last_number: int
    applications: dict[str, str] = Field(min_length=1)
    users: dict[str, User] = Field(min_length=1)
    tokens: dict[str, Token]
    sessions: dict[str, Session]
    accounts: dict[str, AccountJson]
    outbound_messages: list[OutboundMessageJson]
    archive: list[ArchivedCallback]
    clock_seconds: Timestamp | None = Field(
        default=None, description="Virtual time of the export. The state file has it."
    )

    @classmethod
    def from_state(cls, state: PlatformState, clock_seconds: float | None = None) -> StateJson:
        """Build the document of a platform state."""
        positions = {
            id(device): index for account in state.accounts.values() for index, device in enumerate(account.devices)
        }
        return cls.model_construct(
            version=1,
            request_id_namespace=UUID(state.request_id_namespace),
            last_number=state.last_number,
            applications=state.applications,
            users=state.users,
            tokens=state.tokens,
            sessions=state.sessions,
            accounts={name: _export_account(account, positions) for name, account in state.accounts.items()},
            outbound_messages=[
                OutboundMessageJson.model_construct(**_replace_device(message, positions))
                for message in state.outbound_messages
            ],
            archive=state.archive,
            clock_seconds=clock_seconds,
        )

    @classmethod
    def decode(cls, content: bytes) -> StateJson:
        """Validate a document. Raises InvalidState."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise InvalidState(describe_errors(error)) from error

    def encode(self) -> bytes:
        """Return the document as JSON."""
        unset = {"clock_seconds"} if self.clock_seconds is None else set()
        return self.model_dump_json(by_alias=True, exclude=unset).encode()

    def to_state(self) -> PlatformState:
        """Build the platform state. Raises InvalidState if a reference has no target."""
        self._check_references()
        state = PlatformState(
            applications=self.applications,
            users=self.users,
            accounts={name: _import_account(account, f"accounts.{name}") for name, account in self.accounts.items()},
            tokens=self.tokens,
            sessions=self.sessions,
            archive=self.archive,
            last_number=self.last_number,
            request_id_namespace=str(self.request_id_namespace),
        )
        for index, message in enumerate(self.outbound_messages):
            device = _find_device(state.accounts[message.account], message.device, f"outboundMessages[{index}]")
            state.outbound_messages.append(OutboundMessage(**{**dict(message), "device": device}))
        return state

    def _check_references(self) -> None:
        accounts = [
            (f"users.{name}.accounts", account) for name, user in self.users.items() for account in user.accounts
        ]
        accounts += [
            (f"outboundMessages[{index}]", message.account) for index, message in enumerate(self.outbound_messages)
        ]
        accounts += [(f"archive[{index}]", callback.account) for index, callback in enumerate(self.archive)]
        for path, account in accounts:
            if account not in self.accounts:
                raise InvalidState(f"{path}: there is no account {account!r}")
        for token, session in self.sessions.items():
            if session.username not in self.users:
                raise InvalidState(f"sessions.{token}: there is no user {session.username!r}")


def _export_account(account: Account, positions: dict[int, int]) -> AccountJson:
    messages = [*account.in_flight.values(), *account.queue.values()]
    return AccountJson.model_construct(
        devices=account.devices,
        registrations=account.registrations,
        queue=[QueuedMessageJson.model_construct(**_replace_device(message, positions)) for message in messages],
        history_page=account.history_page,
        acknowledged_token=account.acknowledged_token,
    )


def _import_account(document: AccountJson, path: str) -> Account:
    account = Account(
        registrations=document.registrations,
        history_page=document.history_page,
        acknowledged_token=document.acknowledged_token,
    )
    for device in document.devices:
        account.add(device)
    for index, message in enumerate(document.queue):
        device = _find_device(account, message.device, f"{path}.queue[{index}]")
        account.queue[message.number] = DeviceMessage(message.number, device, message.text, message.received)
    return account


def _find_device(account: Account, index: int, path: str) -> Device:
    if index >= len(account.devices):
        raise InvalidState(f"{path}.device: the account has only {len(account.devices)} devices")
    return account.devices[index]


def _replace_device(message: DeviceMessage | OutboundMessage, positions: dict[int, int]) -> dict[str, Any]:
    values = {field.name: getattr(message, field.name) for field in fields(message)}
    return values | {"device": positions[id(message.device)]}
