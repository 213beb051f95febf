"""What exists on the emulated platform: applications, users, accounts, devices, listeners and texts."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

Moment = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""Virtual time in seconds since the epoch, until the end of the year 9999."""

DEFAULT_APP_KEY = "emulator-app-key"
DEFAULT_APP_SECRET = "emulator-app-secret"  # noqa: S105 - invented, the same for everybody, opens nothing
DEFAULT_USERNAME = "emulator-user"
DEFAULT_PASSWORD = "emulator-password"  # noqa: S105 - as above
DEFAULT_ACCOUNTS = ("0000123456-00001", "0000123456-00002", "0000987654-00001")


@dataclass(slots=True)
class Token:
    """An OAuth token; `issued` in virtual seconds since the epoch."""

    value: str
    issued: Moment


@dataclass(slots=True)
class Session:
    """A login's token and when it was last used."""

    username: str
    used: Moment


@dataclass(slots=True)
class User:
    """One who logs in: `strikes` counts wrong passwords in a row."""

    password: str
    accounts: list[str]
    failed_logins: int = 0
    locked: bool = False


@dataclass(slots=True)
class Device:
    """A line: its identifiers by lower-case kind, and what decides whether it can be reached."""

    ids: dict[str, str]
    active: bool = True
    reachable: bool = True
    group: str | None = None
    plan: str | None = None
    custom_fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Registration:
    """A listener of one service. `previous_password` is what a slow platform still sends until `mixed_until`."""

    url: str
    username: str | None = None
    password: str | None = None
    previous_password: str | None = None
    password_overlap_until: Moment = 0.0
    sent: int = 0


@dataclass(slots=True)
class DeviceMessage:
    """A text from a device. `number` is unique in the emulator and never leaves it."""

    number: int
    device: Device
    text: str
    received: Moment


@dataclass(slots=True)
class HistoryPage:
    """Texts shown by history and not acknowledged yet."""

    token: str
    numbers: list[int]


@dataclass(slots=True)
class Account:
    """One account's devices, listeners and undelivered texts."""

    devices: list[Device] = field(default_factory=list)
    registrations: dict[str, Registration] = field(default_factory=dict)
    queue: dict[int, DeviceMessage] = field(default_factory=dict)
    in_flight: dict[int, DeviceMessage] = field(default_factory=dict)
    history_page: HistoryPage | None = None
    acknowledged_token: str | None = None
    by_id: dict[tuple[str, str], Device] = field(default_factory=dict)

    def add(self, device: Device) -> Device:
        """Put a device on the account and make it known by each of its identifiers."""
        self.devices.append(device)
        self.by_id.update(dict.fromkeys(device.ids.items(), device))
        return device

    def find(self, kind: str, value: str) -> Device | None:
        """The device with this identifier; kinds are compared without regard to case."""
        return self.by_id.get((kind.lower(), value))


@dataclass(slots=True)
class OutboundMessage:
    """A text to one device on its way: `state` is queued, sent, delivered or expired."""

    request_id: str
    account: str
    device: Device
    text: str
    accepted: Moment
    expires: Moment
    state: str = "queued"


@dataclass(slots=True)
class ArchivedCallback:
    """A notice that no listener took; kept for 30 days, resent only by an operator."""

    request_id: str
    account: str
    service: str
    body: dict[str, object]
    archived: Moment


@dataclass(slots=True)
class PlatformState:
    """Everything that a restart should not lose."""

    applications: dict[str, str] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    outbound_messages: list[OutboundMessage] = field(default_factory=list)
    archive: list[ArchivedCallback] = field(default_factory=list)
    last_number: int = 0
    request_id_namespace: str = field(default_factory=lambda: str(uuid.uuid4()))

    def next_number(self) -> int:
        """A number that no text had before."""
        self.last_number += 1
        return self.last_number

    def request_id(self, number: int) -> str:
        """The GUID that goes with a number: the same for every attempt to deliver it."""
        return str(uuid.uuid5(uuid.UUID(self.request_id_namespace), str(number)))

    def replace(self, other: PlatformState) -> None:
        """Take over another world's content in place."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def all_devices(self) -> Iterator[tuple[str, Device]]:
        """(account name, device) of every device."""
        for name, account in self.accounts.items():
            for device in account.devices:
                yield name, device


def sample_device(account_index: int, device_index: int) -> Device:
    """A device whose identifiers belong to nobody and follow from its place in the list."""
    serial = account_index * 100 + device_index
    return Device({"mdn": f"555{1230000 + serial:07d}", "iccid": f"89148000{serial:012d}"})


def default_state(
    accounts: Iterable[str] = DEFAULT_ACCOUNTS,
    devices: int = 2,
    users: Mapping[str, User] | None = None,
    applications: Mapping[str, str] | None = None,
) -> PlatformState:
    """A fresh world with invented devices on each account and, unless given, one user who may use them all."""
    state = PlatformState(applications=dict(applications or {DEFAULT_APP_KEY: DEFAULT_APP_SECRET}))
    for position, name in enumerate(accounts):
        account = state.accounts[name] = Account()
        for index in range(devices):
            account.add(sample_device(position, index + 1))
    state.users = dict(users or {DEFAULT_USERNAME: User(DEFAULT_PASSWORD, list(state.accounts))})
    return state
