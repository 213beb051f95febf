"""Scenario: a YAML file from which an emulator starts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from thingspace_provider.emulator.api.authentication import LOCKOUT_THRESHOLD
from thingspace_provider.emulator.api.request_bodies import check_registration, parse_device_id
from thingspace_provider.emulator.api.responses import RequestRejected
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.platform.callback_sender import Addresses, InvalidCertificateAuthority, load_ca
from thingspace_provider.emulator.platform.faults import FaultRule
from thingspace_provider.emulator.platform.message_router import DEVICE_MESSAGE_SERVICE
from thingspace_provider.emulator.platform.state import (
    DEFAULT_ACCOUNTS,
    DEFAULT_APP_KEY,
    DEFAULT_APP_SECRET,
    DEFAULT_PASSWORD,
    DEFAULT_USERNAME,
    Account,
    Device,
    DeviceMessage,
    PlatformState,
    Registration,
    User,
    sample_device,
)
from thingspace_provider.emulator.platform.switches import InvalidSwitch, Switches
from thingspace_provider.emulator.platform.validation import StrictModel, describe_errors

DEFAULT_DEVICES = 2
MAX_DEVICES = 100_000


class InvalidScenario(ValueError):
    """A scenario that cannot be used; the message names the position and what would be valid."""


class ScenarioDevice(StrictModel):
    """Device of an account. Without identifiers it gets invented ones."""

    ids: dict[str, str] | None = Field(default=None, min_length=1)
    active: bool = True
    reachable: bool = True
    group: str | None = None
    plan: str | None = None
    custom_fields: dict[str, str] = Field(default_factory=dict)


class ScenarioListener(StrictModel):
    """Registered listener of an account."""

    service: str = DEVICE_MESSAGE_SERVICE
    url: str
    username: str | None = None
    password: str | None = None


class ScenarioAccount(StrictModel):
    """Account. A name alone stands for an account with the default devices; a number stands for that many devices."""

    name: str = Field(min_length=1)
    devices: list[ScenarioDevice] = Field(default_factory=lambda: [ScenarioDevice()] * DEFAULT_DEVICES)
    listeners: list[ScenarioListener] = Field(default_factory=list)
    queued_messages: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _expand_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("devices", mode="before")
    @classmethod
    def _expand_number(cls, value: Any) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if not 0 <= value <= MAX_DEVICES:
            raise ValueError(f"the number of devices must be from 0 to {MAX_DEVICES}")
        return [{} for _ in range(value)]


class ScenarioUser(StrictModel):
    """User with its accounts, which are all accounts unless given."""

    username: str
    password: str
    accounts: list[str] | None = None
    failed_logins: int = Field(default=0, ge=0, le=LOCKOUT_THRESHOLD)
    locked: bool | None = None

    @model_validator(mode="after")
    def _check_lockout(self) -> ScenarioUser:
        if self.failed_logins == LOCKOUT_THRESHOLD and self.locked is False:
            raise ValueError(f"a user with {LOCKOUT_THRESHOLD} failedLogins is locked")
        return self


class ScenarioClock(StrictModel):
    """Start of the virtual clock. Without a zone, `start` is in UTC."""

    start: dt.datetime | None = None
    frozen: bool = False

    @field_validator("start", mode="before")
    @classmethod
    def _parse_start(cls, value: Any) -> Any:
        try:
            time = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise ValueError(f"the start must be a time such as 2026-03-01T08:00:00-05:00, not {value!r}") from None
        return time if time.tzinfo is not None else time.replace(tzinfo=dt.timezone.utc)


class Scenario(StrictModel):
    """The whole file. Every key is optional."""

    accounts: list[ScenarioAccount] = Field(
        default_factory=lambda: [ScenarioAccount(name=name) for name in DEFAULT_ACCOUNTS]
    )
    users: list[ScenarioUser] = Field(
        default_factory=lambda: [ScenarioUser(username=DEFAULT_USERNAME, password=DEFAULT_PASSWORD)],
        min_length=1,
    )
    applications: dict[str, str] = Field(default_factory=lambda: {DEFAULT_APP_KEY: DEFAULT_APP_SECRET}, min_length=1)
    preset: str | None = None
    switches: dict[str, Any] = Field(default_factory=dict)
    faults: list[FaultRule] = Field(default_factory=list)
    clock: ScenarioClock = ScenarioClock()
    resolve: Addresses = Field(default_factory=dict)
    ca_file: str | None = None


def load_scenario(path: Path) -> EmulatorConfig:
    """Load a scenario file. A relative `caFile` is resolved against its directory. Raises InvalidScenario."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidScenario(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidScenario(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return parse_scenario(value, path.parent)


def parse_scenario(value: Any, directory: Path | None = None) -> EmulatorConfig:
    """Validate a scenario. An empty one is the default. Raises InvalidScenario."""
    try:
        scenario = Scenario.model_validate({} if value is None else value)
    except ValidationError as error:
        raise InvalidScenario(describe_errors(error)) from error
    values = {**({"preset": scenario.preset} if scenario.preset is not None else {}), **scenario.switches}
    try:
        switches = Switches(values)
    except InvalidSwitch as error:
        raise InvalidScenario(f"switches: {error}") from error
    ca_file = str((directory or Path()) / scenario.ca_file) if scenario.ca_file is not None else None
    start = scenario.clock.start.timestamp() if scenario.clock.start is not None else None
    state = _build_state(
        scenario, switches, start if start is not None else dt.datetime.now(dt.timezone.utc).timestamp()
    )
    try:
        load_ca(ca_file)
    except InvalidCertificateAuthority as error:
        raise InvalidScenario(f"caFile: {error}") from error
    return EmulatorConfig(
        state=state,
        switches=values,
        faults=tuple(scenario.faults),
        start=start,
        frozen=scenario.clock.frozen,
        resolve=scenario.resolve,
        ca_file=ca_file,
    )


def _build_state(scenario: Scenario, switches: Switches, now: float) -> PlatformState:
    state = PlatformState(applications=scenario.applications)
    for position, source in enumerate(scenario.accounts):
        path = f"accounts[{position}]"
        if source.name in state.accounts:
            raise InvalidScenario(f"{path}: duplicate account {source.name!r}")
        account = state.accounts[source.name] = Account()
        for index, device in enumerate(source.devices):
            account.add(_build_device(account, device, sample_device(position, index + 1), f"{path}.devices[{index}]"))
        for index, listener in enumerate(source.listeners):
            _add_listener(account, listener, f"{path}.listeners[{index}]", switches)
        if source.queued_messages and not account.devices:
            raise InvalidScenario(f"{path}.queuedMessages: the account has no device that could have sent them")
        for text in source.queued_messages:
            number = state.next_number()
            account.queue[number] = DeviceMessage(number, account.devices[0].ids, text, now)
    _add_users(state, scenario.users)
    _check_owners(state)
    return state


def _build_device(account: Account, source: ScenarioDevice, sample: Device, path: str) -> Device:
    ids = {}
    for kind, identifier in (source.ids or sample.ids).items():
        try:
            pair = parse_device_id({"kind": kind, "id": identifier})
        except RequestRejected as error:
            raise InvalidScenario(f"{path}.ids.{kind}: invalid identifier {identifier}: {error}") from error
        if account.find(*pair):
            raise InvalidScenario(f"{path}.ids.{kind}: another device has the identifier {identifier}")
        ids[pair[0]] = pair[1]
    return Device(ids, source.active, source.reachable, source.group, source.plan, source.custom_fields)


def _add_listener(account: Account, source: ScenarioListener, path: str, switches: Switches) -> None:
    registration = Registration(source.url, source.username, source.password)
    try:
        check_registration(source.service, registration, switches)
    except RequestRejected as error:
        raise InvalidScenario(f"{path}: ThingSpace would reject the registration with {error}") from error
    if source.service in account.registrations:
        raise InvalidScenario(f"{path}: the service {source.service} already has a listener")
    account.registrations[source.service] = registration


def _add_users(state: PlatformState, users: list[ScenarioUser]) -> None:
    for position, source in enumerate(users):
        path = f"users[{position}]"
        accounts = source.accounts if source.accounts is not None else list(state.accounts)
        if unknown := [name for name in accounts if name not in state.accounts]:
            raise InvalidScenario(f"{path}.accounts: there is no account {', '.join(unknown)}")
        if source.username in state.users:
            raise InvalidScenario(f"{path}: duplicate user {source.username!r}")
        locked = source.locked or source.failed_logins == LOCKOUT_THRESHOLD
        state.users[source.username] = User(source.password, accounts, source.failed_logins, locked)


def _check_owners(state: PlatformState) -> None:
    owners: dict[tuple[str, str], str] = {}
    for name, account in state.accounts.items():
        for pair in account.by_id:
            owner = owners.setdefault(pair, name)
            if owner != name:
                raise InvalidScenario(f"accounts: the device {pair[0]} {pair[1]} belongs to both {owner} and {name}")
