"""A start written down in YAML: accounts, devices, listeners, texts, users, switches, faults, the clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.emulator.api.request_bodies import Listener, check_listener, read_device
from thingspace_provider.emulator.api.responses import Refused
from thingspace_provider.emulator.emulator import Setup
from thingspace_provider.emulator.platform.callback_sender import BadAddress, BadAuthority, check_addresses, trust
from thingspace_provider.emulator.platform.faults import BadRule, Faults
from thingspace_provider.emulator.platform.state import (
    DEFAULT_ACCOUNTS,
    DEFAULT_APP_KEY,
    DEFAULT_APP_SECRET,
    DEFAULT_PASSWORD,
    DEFAULT_USERNAME,
    Account,
    Device,
    Registration,
    Text,
    User,
    World,
    invented_device,
)
from thingspace_provider.emulator.platform.state_json import fits
from thingspace_provider.emulator.platform.switches import Switches, UnknownSwitch

KEYS: dict[str, Any] = {
    "accounts": list[Any],
    "users": list[Any],
    "apps": dict[str, str],
    "profile": str,
    "switches": dict[str, Any],
    "faults": list[Any],
    "clock": dict[str, Any],
    "resolve": dict[str, str],
    "certificateAuthority": str,
}
ACCOUNT_KEYS: dict[str, Any] = {"name": str, "devices": object, "listeners": list[Any], "texts": list[str]}
DEVICE_KEYS: dict[str, Any] = {
    "ids": dict[str, str],
    "active": bool,
    "reachable": bool,
    "group": str,
    "plan": str,
    "customFields": dict[str, str],
}
LISTENER_KEYS: dict[str, Any] = {"service": str, "url": str, "username": str, "password": str}
USER_KEYS: dict[str, Any] = {"username": str, "password": str, "accounts": list[str], "strikes": int, "locked": bool}
CLOCK_KEYS: dict[str, Any] = {"start": object, "frozen": bool}
MOST_DEVICES = 100_000


class BadScenario(ValueError):
    """A scenario that cannot be; the text names the place and what would be right."""


def read_scenario(path: Path) -> Setup:
    """The setup that a file describes. Raises BadScenario; a relative `certificateAuthority` is beside the file."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadScenario(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadScenario(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return scenario(value, path.parent)


def scenario(value: Any, folder: Path | None = None) -> Setup:
    """The setup that a scenario, already parsed, describes. An empty one is the default. Raises BadScenario."""
    source = _entry({} if value is None else value, KEYS, "the scenario")
    switches = {**({"profile": source["profile"]} if "profile" in source else {}), **source.get("switches", {})}
    try:
        chosen = Switches(switches)
    except UnknownSwitch as error:
        raise BadScenario(f"switches: {error}") from error
    world = World(apps=source.get("apps", {DEFAULT_APP_KEY: DEFAULT_APP_SECRET}))
    if not world.apps:
        raise BadScenario("apps: there has to be at least one application key and its secret")
    start, frozen = _clock(source.get("clock", {}))
    for position, item in enumerate(source.get("accounts", [{"name": name} for name in DEFAULT_ACCOUNTS])):
        _account(world, item, position, chosen, start or dt.datetime.now(dt.timezone.utc).timestamp())
    _users(world, source.get("users"))
    _check_owners(world)
    for position, rule in enumerate(source.get("faults", [])):
        _check_fault(rule, f"faults[{position}]")
    ca = str((folder or Path()) / source["certificateAuthority"]) if "certificateAuthority" in source else None
    try:
        if ca is not None:
            trust(ca)
    except BadAuthority as error:
        raise BadScenario(f"certificateAuthority: {error}") from error
    try:
        check_addresses(source.get("resolve", {}))
    except BadAddress as error:
        raise BadScenario(f"resolve: {error}") from error
    return Setup(
        world=world,
        switches=switches,
        faults=tuple(source.get("faults", [])),
        start=start,
        frozen=frozen,
        resolve=source.get("resolve", {}),
        ca=ca,
    )


def _account(world: World, value: Any, position: int, switches: Switches, moment: float) -> None:
    place = f"accounts[{position}]"
    source = _entry({"name": value} if isinstance(value, str) else value, ACCOUNT_KEYS, place, "name")
    name = source["name"]
    if not name or name in world.accounts:
        raise BadScenario(f"{place}: the account {name!r} is there twice" if name else f"{place}: a name is not empty")
    account = world.accounts[name] = Account()
    devices = source.get("devices", 2)
    if fits(devices, int) and 0 <= devices <= MOST_DEVICES:
        devices = [{"ids": invented_device(position, index + 1).ids} for index in range(devices)]
    if not isinstance(devices, list):
        raise BadScenario(f"{place}.devices is a number of devices or a list of them")
    for index, item in enumerate(devices):
        _device(account, item, f"{place}.devices[{index}]")
    for index, item in enumerate(source.get("listeners", [])):
        _listener(account, item, f"{place}.listeners[{index}]", switches)
    texts = source.get("texts", [])
    if texts and not account.devices:
        raise BadScenario(f"{place}: there are texts and no device that could have sent them")
    for text in texts:
        number = world.next_number()
        account.queue[number] = Text(number, account.devices[0], text, moment)


def _device(account: Account, value: Any, place: str) -> None:
    source = _entry(value, DEVICE_KEYS, place, "ids")
    ids = {}
    for kind, identifier in source["ids"].items():
        try:
            read_device({"kind": kind, "id": identifier})
        except Refused as refusal:
            raise BadScenario(f"{place}.ids.{kind}: {identifier} is not one: {refusal}") from refusal
        if account.find(kind, identifier):
            raise BadScenario(f"{place}.ids.{kind}: {identifier} is another device already")
        ids[kind.lower()] = identifier
    if not ids:
        raise BadScenario(f"{place}.ids: a device has at least one identifier")
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


def _listener(account: Account, value: Any, place: str, switches: Switches) -> None:
    source = _entry(value, LISTENER_KEYS, place, "url")
    service = source.get("service", "EnhancedConnectivityService")
    listener = Listener(service, source["url"], source.get("username"), source.get("password"))
    try:
        check_listener(listener, switches)
    except Refused as refusal:
        raise BadScenario(f"{place}: ThingSpace would refuse it with {refusal}") from refusal
    if service in account.registrations:
        raise BadScenario(f"{place}: the service {service} has a listener already")
    account.registrations[service] = Registration(listener.url, listener.username, listener.password)


def _users(world: World, value: list[Any] | None) -> None:
    entries = value if value is not None else [{"username": DEFAULT_USERNAME, "password": DEFAULT_PASSWORD}]
    for position, item in enumerate(entries):
        place = f"users[{position}]"
        source = _entry(item, USER_KEYS, place, "username", "password")
        accounts = source.get("accounts", list(world.accounts))
        if unknown := [name for name in accounts if name not in world.accounts]:
            raise BadScenario(f"{place}.accounts: there is no account {', '.join(unknown)} in this scenario")
        if source["username"] in world.users:
            raise BadScenario(f"{place}: the user {source['username']!r} is there twice")
        strikes, locked = source.get("strikes", 0), source.get("locked", False)
        if not 0 <= strikes <= 5 or (strikes == 5 and not source.get("locked", True)):  # noqa: PLR2004 - five lock
            raise BadScenario(f"{place}: strikes are 0 to 5, and five lock the user")
        world.users[source["username"]] = User(source["password"], accounts, strikes, locked or strikes == 5)  # noqa: PLR2004
    if not world.users:
        raise BadScenario("users: there has to be at least one")


def _check_fault(rule: Any, place: str) -> None:
    try:
        Faults().arm(rule)
    except BadRule as error:
        raise BadScenario(f"{place}: {error}") from error


def _check_owners(world: World) -> None:
    owners: dict[tuple[str, str], str] = {}
    for name, account in world.accounts.items():
        for pair in account.by_id:
            other = owners.setdefault(pair, name)
            if other != name:
                raise BadScenario(f"the device {pair[0]} {pair[1]} is on {other} and on {name}")


def _clock(value: dict[str, Any]) -> tuple[float | None, bool]:
    source = _entry(value, CLOCK_KEYS, "clock")
    start, frozen = source.get("start"), source.get("frozen", False)
    if start is None:
        return None, frozen
    try:
        moment = start if isinstance(start, dt.datetime) else dt.datetime.fromisoformat(start)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.timezone.utc)
        return moment.timestamp(), frozen
    except (TypeError, ValueError, OverflowError) as error:
        raise BadScenario(f"clock.start is a moment such as 2026-03-01T08:00:00-05:00, not {start!r}") from error


def _entry(value: Any, keys: dict[str, Any], place: str, *needed: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadScenario(f"{place} is a mapping with: {', '.join(keys)}")
    for name, content in value.items():
        if name not in keys:
            raise BadScenario(f"{place} has no key {name!r}; it has: {', '.join(keys)}")
        if not fits(content, keys[name]):
            kind = getattr(keys[name], "__name__", "") if isinstance(keys[name], type) else ""
            hint = "; put it in quotes" if keys[name] is str else ""
            raise BadScenario(f"{place}: {name} is not of the type {kind or keys[name]}{hint}")
    if missing := [name for name in needed if name not in value]:
        raise BadScenario(f"{place} lacks: {', '.join(missing)}")
    return value
