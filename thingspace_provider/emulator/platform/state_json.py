"""The world as JSON and back, for export, import and restarts."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

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
    Token,
    User,
)

VERSION = 1
QUEUED_MESSAGE_TYPES = (int, int, str, float)
"""A queued text: number, its device's place in the account's list, message, moment of receipt."""

Entity = TypeVar("Entity")


class InvalidState(ValueError):
    """A state that does not fit; the text names the place."""


def export_state(state: PlatformState) -> dict[str, Any]:
    """A world as JSON. It holds the emulator's credentials and the listeners' passwords: that is what state is."""
    device_positions = {
        id(device): [name, index]
        for name, account in state.accounts.items()
        for index, device in enumerate(account.devices)
    }
    return {
        "version": VERSION,
        "requestIdNamespace": state.request_id_namespace,
        "lastNumber": state.last_number,
        "applications": dict(state.applications),
        "users": {name: _to_json(user) for name, user in state.users.items()},
        "tokens": {name: _to_json(token) for name, token in state.tokens.items()},
        "sessions": {name: _to_json(session) for name, session in state.sessions.items()},
        "accounts": {name: _export_account(account, device_positions) for name, account in state.accounts.items()},
        "outboundMessages": [
            {**_to_json(message), "device": device_positions[id(message.device)]} for message in state.outbound_messages
        ],
        "archive": [_to_json(callback) for callback in state.archive],
    }


def import_state(value: Any) -> PlatformState:
    """The world of an export. Raises BadState."""
    source = _require_mapping(value, "the state")
    if source.get("version") != VERSION:
        raise InvalidState(f"the state's version is {source.get('version')!r}, and this emulator reads {VERSION}")
    state = PlatformState()
    state.request_id_namespace, state.last_number = (
        _require_key(str, source, "requestIdNamespace"),
        _require_key(int, source, "lastNumber"),
    )
    try:
        uuid.UUID(state.request_id_namespace)
    except ValueError as error:
        raise InvalidState("requestIdNamespace is not a GUID") from error
    state.applications = _parse_mapping(source, "applications", lambda item, path: _require_type(str, item, path))
    state.users = _parse_mapping(source, "users", lambda item, place: _parse_entity(User, item, place))
    state.tokens = _parse_mapping(source, "tokens", lambda item, place: _parse_entity(Token, item, place))
    state.sessions = _parse_mapping(source, "sessions", lambda item, place: _parse_entity(Session, item, place))
    state.accounts = _parse_mapping(source, "accounts", _import_account)
    for index, item in enumerate(_require_key(list, source, "outboundMessages")):
        place = f"outboundMessages[{index}]"
        entry = dict(_require_mapping(item, place))
        entry["device"] = _find_device(state, entry.get("device"), place)
        state.outbound_messages.append(_parse_entity(OutboundMessage, entry, place))
    state.archive = [
        _parse_entity(ArchivedCallback, item, f"archive[{i}]")
        for i, item in enumerate(_require_key(list, source, "archive"))
    ]
    return state


def _export_account(account: Account, device_positions: Mapping[int, list[Any]]) -> dict[str, Any]:
    messages = [*account.in_flight.values(), *account.queue.values()]
    return {
        "devices": [_to_json(device) for device in account.devices],
        "registrations": {name: _to_json(registration) for name, registration in account.registrations.items()},
        "queue": [
            [message.number, device_positions[id(message.device)][1], message.text, message.received]
            for message in messages
        ],
        "historyPage": _to_json(account.history_page) if account.history_page else None,
        "acknowledgedToken": account.acknowledged_token,
    }


def _import_account(value: Any, path: str) -> Account:
    source = _require_mapping(value, path)
    account = Account(acknowledged_token=source.get("acknowledgedToken"))
    if not matches_type(account.acknowledged_token, str | None):
        raise InvalidState(f"{path}.acknowledgedToken is not a string or null")
    for index, item in enumerate(_require_key(list, source, "devices", path)):
        account.add(_parse_entity(Device, item, f"{path}.devices[{index}]"))
    account.registrations = _parse_mapping(
        source, "registrations", lambda item, item_path: _parse_entity(Registration, item, item_path), path
    )
    for index, item in enumerate(_require_key(list, source, "queue", path)):
        where = f"{path}.queue[{index}]"
        if not (
            isinstance(item, list)
            and len(item) == len(QUEUED_MESSAGE_TYPES)
            and all(map(matches_type, item, QUEUED_MESSAGE_TYPES))
        ):
            raise InvalidState(f"{where} is not [number, device's place, message, moment]")
        number, device, text, received = item
        if not 0 <= device < len(account.devices):
            raise InvalidState(f"{where} names a device that the account does not have")
        message = DeviceMessage(number, account.devices[device], text, received)
        account.queue[message.number] = message
    if source.get("historyPage") is not None:
        account.history_page = _parse_entity(HistoryPage, source["historyPage"], f"{path}.historyPage")
    return account


def _find_device(state: PlatformState, value: Any, path: str) -> Device:
    try:
        name, index = value
        device: Device = state.accounts[name].devices[index]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InvalidState(f"{path}.device is not [account, device's place]") from error
    return device


def _to_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def _to_json(entity: Any) -> dict[str, Any]:
    return {_to_camel_case(field.name): _copy(getattr(entity, field.name)) for field in fields(entity)}


def _copy(value: Any) -> Any:
    return value if isinstance(value, Device) else copy.deepcopy(value)


def _parse_entity(kind: type[Entity], value: Any, path: str) -> Entity:
    """Build an entity of a mapping, each value of which has the type of its field."""
    names = {_to_camel_case(name): name for name in get_type_hints(kind)}
    hints = get_type_hints(kind)
    source: dict[str, Any] = {}
    for key, content in _require_mapping(value, path).items():
        if key not in names:
            raise InvalidState(f"{path} has no {key}; it has: {', '.join(names)}")
        if not matches_type(content, hints[names[key]]):
            raise InvalidState(f"{path}.{key} is not of the type {hints[names[key]]}")
        source[names[key]] = _copy(content)
    try:
        return kind(**source)
    except TypeError as error:
        raise InvalidState(f"{path} does not fit: {error}") from error


def matches_type(value: Any, hint: Any) -> bool:
    """Whether a value has a type as annotations write it: plain ones, lists, dicts, unions. A bool is no number."""
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(matches_type(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            matches_type(key, arguments[0]) and matches_type(item, arguments[1]) for key, item in value.items()
        )
    if arguments:
        return any(matches_type(value, argument) for argument in arguments)
    if isinstance(value, bool):
        return hint in {bool, object}
    return isinstance(value, (int, float) if hint is float else hint)


def _parse_mapping(
    source: Mapping[str, Any], name: str, parse: Callable[[Any, str], Entity], path: str = ""
) -> dict[str, Entity]:
    mapping_path = f"{path}.{name}" if path else name
    return {
        str(key): parse(item, f"{mapping_path}.{key}")
        for key, item in _require_mapping(source.get(name), mapping_path).items()
    }


def _require_key(kind: type[Entity], source: Mapping[str, Any], name: str, path: str = "") -> Entity:
    return _require_type(kind, source.get(name), f"{path}.{name}" if path else name)


def _require_type(kind: type[Entity], value: Any, path: str) -> Entity:
    if not isinstance(value, kind):
        raise InvalidState(f"{path} is not of the type {kind.__name__}")
    return value


def _require_mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidState(f"{path} is not an object")
    return value
