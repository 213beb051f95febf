"""A start written down in YAML: accounts, devices, listeners, texts, users, switches, faults, the clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.emulator.api.authentication import LOCKOUT_THRESHOLD
from thingspace_provider.emulator.api.request_bodies import RegistrationRequest, check_registration, parse_device_id
from thingspace_provider.emulator.api.responses import RequestRejected
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.platform.callback_sender import (
    InvalidAddress,
    InvalidCertificateAuthority,
    check_addresses,
    load_ca,
)
from thingspace_provider.emulator.platform.faults import Faults, InvalidFault
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
from thingspace_provider.emulator.platform.state_json import matches_type
from thingspace_provider.emulator.platform.switches import InvalidSwitch, Switches

KEYS: dict[str, Any] = {
    "accounts": list[Any],
    "users": list[Any],
    "applications": dict[str, str],
    "preset": str,
    "switches": dict[str, Any],
    "faults": list[Any],
    "clock": dict[str, Any],
    "resolve": dict[str, str],
    "caFile": str,
}
ACCOUNT_KEYS: dict[str, Any] = {"name": str, "devices": object, "listeners": list[Any], "queuedMessages": list[str]}
DEVICE_KEYS: dict[str, Any] = {
    "ids": dict[str, str],
    "active": bool,
    "reachable": bool,
    "group": str,
    "plan": str,
    "customFields": dict[str, str],
}
LISTENER_KEYS: dict[str, Any] = {"service": str, "url": str, "username": str, "password": str}
USER_KEYS: dict[str, Any] = {
    "username": str,
    "password": str,
    "accounts": list[str],
    "failedLogins": int,
    "locked": bool,
}
CLOCK_KEYS: dict[str, Any] = {"start": object, "frozen": bool}
MAX_DEVICES = 100_000


class InvalidScenario(ValueError):
    """A scenario that cannot be; the text names the place and what would be right."""


def load_scenario(path: Path) -> EmulatorConfig:
    """The setup that a file describes. Raises BadScenario; a relative `caFile` is beside the file."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidScenario(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidScenario(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return parse_scenario(value, path.parent)


def parse_scenario(value: Any, folder: Path | None = None) -> EmulatorConfig:
    """The setup that a scenario, already parsed, describes. An empty one is the default. Raises BadScenario."""
    source = _require_mapping({} if value is None else value, KEYS, "the scenario")
    switches = {**({"preset": source["preset"]} if "preset" in source else {}), **source.get("switches", {})}
    try:
        chosen = Switches(switches)
    except InvalidSwitch as error:
        raise InvalidScenario(f"switches: {error}") from error
    state = PlatformState(applications=source.get("applications", {DEFAULT_APP_KEY: DEFAULT_APP_SECRET}))
    if not state.applications:
        raise InvalidScenario("applications: there has to be at least one application key and its secret")
    start, frozen = _parse_clock(source.get("clock", {}))
    for position, item in enumerate(source.get("accounts", [{"name": name} for name in DEFAULT_ACCOUNTS])):
        _add_account(state, item, position, chosen, start or dt.datetime.now(dt.timezone.utc).timestamp())
    _add_users(state, source.get("users"))
    _check_owners(state)
    for position, rule in enumerate(source.get("faults", [])):
        _check_fault(rule, f"faults[{position}]")
    ca_file = str((folder or Path()) / source["caFile"]) if "caFile" in source else None
    try:
        if ca_file is not None:
            load_ca(ca_file)
    except InvalidCertificateAuthority as error:
        raise InvalidScenario(f"caFile: {error}") from error
    try:
        check_addresses(source.get("resolve", {}))
    except InvalidAddress as error:
        raise InvalidScenario(f"resolve: {error}") from error
    return EmulatorConfig(
        state=state,
        switches=switches,
        faults=tuple(source.get("faults", [])),
        start=start,
        frozen=frozen,
        resolve=source.get("resolve", {}),
        ca_file=ca_file,
    )


def _add_account(state: PlatformState, value: Any, position: int, switches: Switches, moment: float) -> None:
    path = f"accounts[{position}]"
    source = _require_mapping({"name": value} if isinstance(value, str) else value, ACCOUNT_KEYS, path, "name")
    name = source["name"]
    if not name or name in state.accounts:
        raise InvalidScenario(
            f"{path}: the account {name!r} is there twice" if name else f"{path}: a name is not empty"
        )
    account = state.accounts[name] = Account()
    devices = source.get("devices", 2)
    if matches_type(devices, int) and 0 <= devices <= MAX_DEVICES:
        devices = [{"ids": sample_device(position, index + 1).ids} for index in range(devices)]
    if not isinstance(devices, list):
        raise InvalidScenario(f"{path}.devices is a number of devices or a list of them")
    for index, item in enumerate(devices):
        _add_device(account, item, f"{path}.devices[{index}]")
    for index, item in enumerate(source.get("listeners", [])):
        _add_listener(account, item, f"{path}.listeners[{index}]", switches)
    queued_messages = source.get("queuedMessages", [])
    if queued_messages and not account.devices:
        raise InvalidScenario(f"{path}: there are texts and no device that could have sent them")
    for text in queued_messages:
        number = state.next_number()
        account.queue[number] = DeviceMessage(number, account.devices[0], text, moment)


def _add_device(account: Account, value: Any, path: str) -> None:
    source = _require_mapping(value, DEVICE_KEYS, path, "ids")
    ids = {}
    for kind, identifier in source["ids"].items():
        try:
            parse_device_id({"kind": kind, "id": identifier})
        except RequestRejected as error:
            raise InvalidScenario(f"{path}.ids.{kind}: {identifier} is not one: {error}") from error
        if account.find(kind, identifier):
            raise InvalidScenario(f"{path}.ids.{kind}: {identifier} is another device already")
        ids[kind.lower()] = identifier
    if not ids:
        raise InvalidScenario(f"{path}.ids: a device has at least one identifier")
    account.add(
        Device(
            ids,
            active=source.get("active", True),
            reachable=source.get("reachable", True),
            group=source.get("group"),
            plan=source.get("plan"),
            custom_fields=source.get("customFields", {}),
        )
    )


def _add_listener(account: Account, value: Any, path: str, switches: Switches) -> None:
    source = _require_mapping(value, LISTENER_KEYS, path, "url")
    service = source.get("service", "EnhancedConnectivityService")
    request = RegistrationRequest(service, source["url"], source.get("username"), source.get("password"))
    try:
        check_registration(request, switches)
    except RequestRejected as error:
        raise InvalidScenario(f"{path}: ThingSpace would refuse it with {error}") from error
    if service in account.registrations:
        raise InvalidScenario(f"{path}: the service {service} has a listener already")
    account.registrations[service] = Registration(request.url, request.username, request.password)


def _add_users(state: PlatformState, value: list[Any] | None) -> None:
    entries = value if value is not None else [{"username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}]
    for position, item in enumerate(entries):
        path = f"users[{position}]"
        source = _require_mapping(item, USER_KEYS, path, "username", "password")
        accounts = source.get("accounts", list(state.accounts))
        if unknown := [name for name in accounts if name not in state.accounts]:
            raise InvalidScenario(f"{path}.accounts: there is no account {', '.join(unknown)} in this scenario")
        if source["username"] in state.users:
            raise InvalidScenario(f"{path}: the user {source['username']!r} is there twice")
        failed_logins, locked = source.get("failedLogins", 0), source.get("locked", False)
        if not 0 <= failed_logins <= LOCKOUT_THRESHOLD or (
            failed_logins == LOCKOUT_THRESHOLD and not source.get("locked", True)
        ):
            raise InvalidScenario(f"{path}: failedLogins is 0 to 5, and five lock the user")
        state.users[source["username"]] = User(
            source["password"], accounts, failed_logins, locked or failed_logins == LOCKOUT_THRESHOLD
        )
    if not state.users:
        raise InvalidScenario("users: there has to be at least one")


def _check_fault(rule: Any, path: str) -> None:
    try:
        Faults().add(rule)
    except InvalidFault as error:
        raise InvalidScenario(f"{path}: {error}") from error


def _check_owners(state: PlatformState) -> None:
    owners: dict[tuple[str, str], str] = {}
    for name, account in state.accounts.items():
        for pair in account.by_id:
            other = owners.setdefault(pair, name)
            if other != name:
                raise InvalidScenario(f"the device {pair[0]} {pair[1]} is on {other} and on {name}")


def _parse_clock(value: dict[str, Any]) -> tuple[float | None, bool]:
    source = _require_mapping(value, CLOCK_KEYS, "clock")
    start, frozen = source.get("start"), source.get("frozen", False)
    if start is None:
        return None, frozen
    try:
        moment = start if isinstance(start, dt.datetime) else dt.datetime.fromisoformat(start)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.timezone.utc)
        return moment.timestamp(), frozen
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidScenario(f"clock.start is a moment such as 2026-03-01T08:00:00-05:00, not {start!r}") from error


def _require_mapping(value: Any, keys: dict[str, Any], path: str, *required: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidScenario(f"{path} is a mapping with: {', '.join(keys)}")
    for name, content in value.items():
        if name not in keys:
            raise InvalidScenario(f"{path} has no key {name!r}; it has: {', '.join(keys)}")
        if not matches_type(content, keys[name]):
            kind = getattr(keys[name], "__name__", "") if isinstance(keys[name], type) else ""
            hint = "; put it in quotes" if keys[name] is str else ""
            raise InvalidScenario(f"{path}: {name} is not of the type {kind or keys[name]}{hint}")
    if missing := [name for name in required if name not in value]:
        raise InvalidScenario(f"{path} lacks: {', '.join(missing)}")
    return value
