"""Reading what the control plane is asked: JSON of a bounded size, names that exist, numbers that make sense."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from thingspace_provider.emulator.api.request_bodies import parse_device_id
from thingspace_provider.emulator.api.responses import RequestRejected
from thingspace_provider.emulator.emulator import Emulator
from thingspace_provider.emulator.platform.state import Account, Device, sample_device

MAX_BODY_BYTES = 1024 * 1024


class InvalidRequest(ValueError):
    """A control request that makes no sense; the text says what would."""


async def parse_json(request: Request, max_bytes: int = MAX_BODY_BYTES) -> Any:
    """The JSON of a body. Raises BadInput; what is too much is thrown away as it comes."""
    content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise InvalidRequest("the body is JSON, and its Content-Type is application/json")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= max_bytes:
            chunks.append(chunk)
        else:
            chunks.clear()
    if size > max_bytes:
        raise InvalidRequest(f"the body is larger than {max_bytes} bytes")
    try:
        value = json.loads(b"".join(chunks))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from error
    return value


async def parse_object(request: Request, keys: set[str]) -> dict[str, Any]:
    """A JSON object with no other keys than these. Raises BadInput."""
    value = await parse_json(request)
    if not isinstance(value, dict):
        raise InvalidRequest(f"the body is a JSON object with: {', '.join(sorted(keys))}")
    if unknown := sorted(set(value) - keys):
        raise InvalidRequest(f"there is no {', '.join(unknown)} here; there is: {', '.join(sorted(keys))}")
    return value


def parse_number(body: dict[str, Any], name: str, default: float, min_value: float, max_value: float) -> float:
    """A number within bounds. Raises BadInput."""
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not min_value <= value <= max_value:
        raise InvalidRequest(f"{name} is a number from {min_value} to {max_value}")
    return value


def find_account(emulator: Emulator, name: Any) -> tuple[str, Account]:
    """The account of this name. Raises BadInput with the names there are."""
    account = emulator.state.accounts.get(name) if isinstance(name, str) else None
    if account is None:
        known = ", ".join(emulator.state.accounts)
        raise InvalidRequest(f"there is no account {name!r}; there are: {known}")
    return name, account


def find_device(account: Account, ids: Any) -> Device:
    """The device of these identifiers, added if the account does not have it; without any, the first one."""
    if ids is None:
        return account.devices[0] if account.devices else account.add(sample_device(0, 1))
    if not isinstance(ids, list) or not ids:
        raise InvalidRequest("deviceIds is a list of {kind, id}")
    try:
        pairs = [parse_device_id(entry) for entry in ids]
    except RequestRejected as error:
        raise InvalidRequest(f"deviceIds: {json.loads(error.response.body)['errorMessage']}") from error
    return next((device for pair in pairs if (device := account.find(*pair))), None) or account.add(Device(dict(pairs)))


def device_ids(device: Device) -> list[dict[str, str]]:
    """A device as `[{"kind", "id"}]`."""
    return [{"kind": kind, "id": value} for kind, value in device.ids.items()]
