"""Platform state: applications, users, accounts, devices, registrations and messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

Timestamp = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""Virtual time in seconds since the epoch, until the end of the year 9999."""

Identifiers = Annotated[dict[str, str], Field(min_length=1)]
"""Lower-case kind -> identifier of a device."""

DEFAULT_APP_KEY = "emulator-app-key"
DEFAULT_APP_SECRET = "emulator-app-secret"  # noqa: S105 - invented, and valid only in an emulator
DEFAULT_USERNAME = "emulator-user"
DEFAULT_PASSWORD = "emulator-password"  # noqa: S105 - as above
DEFAULT_ACCOUNTS = ("0000123456-00001", "0000123456-00002", "0000987654-00001")


@dataclass(slots=True)
class Token:
    """Access token of an application."""

    value: str
    issued: Timestamp


@dataclass(slots=True)
class Session:
    """Session of a user, with the time of its last use."""

    username: str
    used: Timestamp


@dataclass(slots=True)
class User:
    """User. `failed_logins` counts those in a row."""

    password: str
    accounts: list[str]
    failed_logins: int = 0
    locked: bool = False


@dataclass(slots=True)
class Device:
    """Device of an account."""

    ids: Identifiers
    active: bool = True
    reachable: bool = True
    group: str | None = None
    plan: str | None = None
    custom_fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Registration:
    """Registered listener of one service. Callbacks can carry `previous_password` until `password_overlap_until`."""

    url: str
    username: str | None = None
    password: str | None = None
    previous_password: str | None = None
    password_overlap_until: Timestamp = 0.0
    sent: int = 0


@dataclass(slots=True)
class DeviceMessage:
    """Message from the device with these identifiers. `number` is unique in the emulator."""

    number: int
    ids: Identifiers
    text: str
    received: Timestamp


@dataclass(slots=True)
class HistoryPage:
    """Numbers of the messages in the current history page, and the token that acknowledges them."""

    token: str
    numbers: list[int]


@dataclass
class Account:
    """Account with its devices, registrations and undelivered messages. Those in flight are exported as queued."""

    devices: list[Device] = field(default_factory=list)
    registrations: dict[str, Registration] = field(default_factory=dict)
    queue: dict[Annotated[int, Field(strict=False)], DeviceMessage] = field(default_factory=dict)
    history_page: HistoryPage | None = None
    acknowledged_token: str | None = None

    def __post_init__(self) -> None:
        """Index the devices by each of their identifiers."""
        self.in_flight: dict[int, DeviceMessage] = {}
        self.dropped: dict[str, Registration] = {}  # removed by the control API; not exported
        self.by_id = {pair: device for device in self.devices for pair in device.ids.items()}

    def add(self, device: Device) -> Device:
        """Add a device and index it by each of its identifiers."""
        self.devices.append(device)
        self.by_id.update(dict.fromkeys(device.ids.items(), device))
        return device

    def find(self, kind: str, value: str) -> Device | None:
        """Find a device by an identifier. The case of the kind is ignored."""
        return self.by_id.get((kind.lower(), value))


@dataclass(slots=True)
class OutboundMessage:
    """Message to the device with these identifiers."""

    request_id: str
    account: str
    ids: Identifiers
    text: str
    accepted: Timestamp
    expires: Timestamp
    state: Literal["queued", "sent", "delivered", "expired"] = "queued"


@dataclass(slots=True)
class ArchivedCallback:
    """Status callback that no listener acknowledged."""

    request_id: str
    account: str
    service: str
    body: dict[str, object]
    archived: Timestamp


@dataclass(slots=True)
class PlatformState:
    """Platform state, as it survives a restart."""

    applications: dict[str, str] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    outbound_messages: list[OutboundMessage] = field(default_factory=list)
    archive: list[ArchivedCallback] = field(default_factory=list)
    last_number: int = 0
    request_id_namespace: uuid.UUID = field(default_factory=uuid.uuid4)

    def next_number(self) -> int:
        """Return the next message number."""
        self.last_number += 1
        return self.last_number

    def request_id(self, number: int) -> str:
        """Return the request id of a message: the same UUID for every attempt."""
        return str(uuid.uuid5(self.request_id_namespace, str(number)))

    def replace(self, other: PlatformState) -> None:
        """Replace the content in place by that of another state."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    def all_devices(self) -> Iterator[tuple[str, Device]]:
        """Yield (account name, device) for every device."""
        for name, account in self.accounts.items():
            for device in account.devices:
                yield name, device


def sample_device(account_index: int, device_index: int) -> Device:
    """Build a device with invented identifiers, derived from both indexes."""
    serial = account_index * 100 + device_index
    return Device({"mdn": f"555{1230000 + serial:07d}", "iccid": f"89148000{serial:012d}"})


def default_state(names: Sequence[str] = DEFAULT_ACCOUNTS) -> PlatformState:
    """Build a state with two invented devices on each account, and one user of all accounts."""
    return PlatformState(
        applications={DEFAULT_APP_KEY: DEFAULT_APP_SECRET},
        users={DEFAULT_USERNAME: User(DEFAULT_PASSWORD, list(names))},
        accounts={
            name: Account([sample_device(position, 1), sample_device(position, 2)])
            for position, name in enumerate(names)
        },
    )
