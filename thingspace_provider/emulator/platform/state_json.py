"""The world as JSON and back, for export, import and restarts."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from thingspace_provider.emulator.platform.state import (
    Account,
    Archived,
    Block,
    Command,
    Device,
    Registration,
    Session,
    Text,
    Token,
    User,
    World,
)

VERSION = 1
QUEUED = (int, int, str, float)
"""A queued text: number, its device's place in the account's list, message, moment of receipt."""

Entity = TypeVar("Entity")


class BadState(ValueError):
    """A state that does not fit; the text names the place."""


def export_world(world: World) -> dict[str, Any]:
    """A world as JSON. It holds the emulator's credentials and the listeners' passwords: that is what state is."""
    places = {
        id(device): [name, index]
        for name, account in world.accounts.items()
        for index, device in enumerate(account.devices)
    }
    return {
        "version": VERSION,
        "origin": world.origin,
        "lastNumber": world.last_number,
        "apps": dict(world.apps),
        "users": {name: asdict(user) for name, user in world.users.items()},
        "tokens": {name: asdict(token) for name, token in world.tokens.items()},
        "sessions": {name: asdict(session) for name, session in world.sessions.items()},
        "accounts": {name: _export_account(account, places) for name, account in world.accounts.items()},
        "commands": [{**_flat(command), "device": places[id(command.device)]} for command in world.commands],
        "archive": [asdict(notice) for notice in world.archive],
    }


def import_world(value: Any) -> World:
    """The world of an export. Raises BadState."""
    source = _mapping(value, "the state")
    if source.get("version") != VERSION:
        raise BadState(f"the state's version is {source.get('version')!r}, and this emulator reads {VERSION}")
    world = World()
    world.origin, world.last_number = _of(str, source, "origin"), _of(int, source, "lastNumber")
    try:
        uuid.UUID(world.origin)
    except ValueError as error:
        raise BadState("origin is not a GUID") from error
    world.apps = _each(source, "apps", lambda item, place: _is(str, item, place))
    world.users = _each(source, "users", lambda item, place: _make(User, item, place))
    world.tokens = _each(source, "tokens", lambda item, place: _make(Token, item, place))
    world.sessions = _each(source, "sessions", lambda item, place: _make(Session, item, place))
    world.accounts = _each(source, "accounts", _import_account)
    for index, item in enumerate(_of(list, source, "commands")):
        place = f"commands[{index}]"
        entry = dict(_mapping(item, place))
        entry["device"] = _device_at(world, entry.get("device"), place)
        world.commands.append(_make(Command, entry, place))
    world.archive = [_make(Archived, item, f"archive[{i}]") for i, item in enumerate(_of(list, source, "archive"))]
    return world


def _export_account(account: Account, places: Mapping[int, list[Any]]) -> dict[str, Any]:
    texts = [*account.in_flight.values(), *account.queue.values()]
    return {
        "devices": [asdict(device) for device in account.devices],
        "registrations": {name: asdict(one) for name, one in account.registrations.items()},
        "queue": [[text.number, places[id(text.device)][1], text.message, text.received] for text in texts],
        "block": asdict(account.block) if account.block else None,
        "presented": account.presented,
    }


def _import_account(value: Any, place: str) -> Account:
    source = _mapping(value, place)
    account = Account(presented=source.get("presented"))
    if not fits(account.presented, str | None):
        raise BadState(f"{place}.presented is not a string or null")
    for index, item in enumerate(_of(list, source, "devices", place)):
        account.add(_make(Device, item, f"{place}.devices[{index}]"))
    account.registrations = _each(source, "registrations", lambda item, where: _make(Registration, item, where), place)
    for index, item in enumerate(_of(list, source, "queue", place)):
        where = f"{place}.queue[{index}]"
        if not (isinstance(item, list) and len(item) == len(QUEUED) and all(map(fits, item, QUEUED))):
            raise BadState(f"{where} is not [number, device's place, message, moment]")
        number, device, message, received = item
        if not 0 <= device < len(account.devices):
            raise BadState(f"{where} names a device that the account does not have")
        text = Text(number, account.devices[device], message, received)
        account.queue[text.number] = text
    if source.get("block") is not None:
        account.block = _make(Block, source["block"], f"{place}.block")
    return account


def _device_at(world: World, value: Any, place: str) -> Device:
    try:
        name, index = value
        device: Device = world.accounts[name].devices[index]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise BadState(f"{place}.device is not [account, device's place]") from error
    return device


def _flat(entity: Any) -> dict[str, Any]:
    return {one.name: getattr(entity, one.name) for one in fields(entity)}


def _make(kind: type[Entity], value: Any, place: str) -> Entity:
    """An entity of a mapping, each field of which has the type that the entity declares."""
    source = {
        name: content if isinstance(content, Device) else copy.deepcopy(content)
        for name, content in _mapping(value, place).items()
    }
    hints = get_type_hints(kind)
    for name, content in source.items():
        if name not in hints:
            raise BadState(f"{place} has no {name}; it has: {', '.join(hints)}")
        if not fits(content, hints[name]):
            raise BadState(f"{place}.{name} is not of the type {hints[name]}")
    try:
        return kind(**source)
    except TypeError as error:
        raise BadState(f"{place} does not fit: {error}") from error


def fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type as annotations write it: plain ones, lists, dicts, unions. A bool is no number."""
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(key, arguments[0]) and fits(item, arguments[1]) for key, item in value.items()
        )
    if arguments:
        return any(fits(value, argument) for argument in arguments)
    if isinstance(value, bool):
        return hint in {bool, object}
    return isinstance(value, (int, float) if hint is float else hint)


def _each(
    source: Mapping[str, Any], name: str, make: Callable[[Any, str], Entity], place: str = ""
) -> dict[str, Entity]:
    where = f"{place}.{name}" if place else name
    return {str(key): make(item, f"{where}.{key}") for key, item in _mapping(source.get(name), where).items()}


def _of(kind: type[Entity], source: Mapping[str, Any], name: str, place: str = "") -> Entity:
    return _is(kind, source.get(name), f"{place}.{name}" if place else name)


def _is(kind: type[Entity], value: Any, place: str) -> Entity:
    if not isinstance(value, kind):
        raise BadState(f"{place} is not of the type {kind.__name__}")
    return value


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadState(f"{place} is not an object")
    return value
