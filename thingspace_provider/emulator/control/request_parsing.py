"""Reading what the control plane is asked: JSON of a bounded size, names that exist, numbers that make sense."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from thingspace_provider.emulator.api.request_bodies import read_device
from thingspace_provider.emulator.api.responses import Refused
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.state import Account, Device, invented_device

BODY_BYTES = 1024 * 1024


class BadInput(ValueError):
    """A control request that makes no sense; the text says what would."""


async def read_json(request: Request, limit: int = BODY_BYTES) -> Any:
    """The JSON of a body. Raises BadInput; what is too much is thrown away as it comes."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadInput("the body is JSON, and its Content-Type is application/json")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > limit:
        raise BadInput(f"the body is larger than {limit} bytes")
    try:
        value = json.loads(b"".join(chunks))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the body is not JSON: {error}") from error
    return value


async def read_object(request: Request, keys: set[str]) -> dict[str, Any]:
    """A JSON object with no other keys than these. Raises BadInput."""
    value = await read_json(request)
    if not isinstance(value, dict):
        raise BadInput(f"the body is a JSON object with: {', '.join(sorted(keys))}")
    if unknown := sorted(set(value) - keys):
        raise BadInput(f"there is no {', '.join(unknown)} here; there is: {', '.join(sorted(keys))}")
    return value


def read_number(body: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number within bounds. Raises BadInput."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise BadInput(f"{name} is a number from {least} to {most}")
    return value


def find_account(emulator: Emulator, name: Any) -> tuple[str, Account]:
    """The account of this name. Raises BadInput with the names there are."""
    account = emulator.world.accounts.get(name) if isinstance(name, str) else None
    if account is None:
        known = ", ".join(emulator.world.accounts)
        raise BadInput(f"there is no account {name!r}; there are: {known}")
    return name, account


def find_device(account: Account, ids: Any) -> Device:
    """The device of these identifiers, added if the account does not have it; without any, the first one."""
    if ids is None:
        return account.devices[0] if account.devices else account.add(invented_device(0, 1))
    if not isinstance(ids, list) or not ids:
        raise BadInput("deviceIds is a list of {kind, id}")
    try:
        pairs = [read_device(entry) for entry in ids]
    except Refused as refusal:
        raise BadInput(f"deviceIds: {json.loads(refusal.answer.body)['errorMessage']}") from refusal
    return next((found for pair in pairs if (found := account.find(*pair))), None) or account.add(Device(dict(pairs)))


def device_ids(device: Device) -> list[dict[str, str]]:
    """A device as `[{"kind", "id"}]`."""
    return [{"kind": kind, "id": value} for kind, value in device.ids.items()]
