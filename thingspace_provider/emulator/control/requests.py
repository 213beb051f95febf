"""Requests of the control API: what each accepts, for validation and for its OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, RootModel

from thingspace_provider.emulator.platform.callback_sender import Addresses
from thingspace_provider.emulator.platform.switches import PRESETS, SWITCHES
from thingspace_provider.emulator.platform.validation import StrictModel

MAX_MESSAGES = 100_000
MAX_EVENTS = 1000
MAX_ADVANCE_SECONDS = 10 * 366 * 24 * 3600
MAX_WAIT_SECONDS = 60.0

SWITCH_VALUES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "preset": {"enum": list(PRESETS)},
        **{switch.name: {"enum": list(switch.choices), "description": switch.question} for switch in SWITCHES},
    },
    "additionalProperties": False,
}


class DeviceId(StrictModel):
    """Identifier of a device."""

    kind: str
    id: str


DeviceIds = Annotated[list[DeviceId], Field(min_length=1)]


class AccountQuery(StrictModel):
    """Query that selects an account."""

    account_name: str


class JournalQuery(StrictModel):
    """Query that filters the journal."""

    operation: str | None = None
    account_name: str | None = None


class EventsQuery(StrictModel):
    """Query of the newest events above an id."""

    after: int = Field(default=0, ge=0, strict=False)
    limit: int = Field(default=200, ge=1, le=MAX_EVENTS, strict=False)


class ListenerRequest(StrictModel):
    """Listener of an account, by its service."""

    account_name: str
    service_name: str = "EnhancedConnectivityService"


class IdleQuery(StrictModel):
    """Query of the longest wait, in real time."""

    timeout_seconds: float = Field(default=5.0, ge=0, le=MAX_WAIT_SECONDS, strict=False)


class SendMessageRequest(StrictModel):
    """Message of a device, once or `repeat` times. Without identifiers the account's first device sends it."""

    account_name: str
    message: str
    device_ids: DeviceIds | None = None
    repeat: int = Field(default=1, ge=1, le=MAX_MESSAGES)


class MoveClockRequest(StrictModel):
    """Move of the virtual clock. `frozen` stops or starts it first."""

    advance_seconds: float = Field(default=0, ge=0, le=MAX_ADVANCE_SECONDS)
    frozen: bool | None = None


class AddAccountRequest(StrictModel):
    """New account, for one user or for all."""

    account_name: str = Field(min_length=1, pattern="^[^/]*$")
    username: str | None = None


class PutDeviceRequest(StrictModel):
    """New device, or changes of a known one. Without identifiers it is the account's first device."""

    account_name: str
    device_ids: DeviceIds | None = None
    active: bool | None = None
    reachable: bool | None = None
    group_name: str | None = None
    service_plan: str | None = None
    custom_fields: dict[str, str] | None = None


class UserRequest(StrictModel):
    """User to lock or unlock."""

    username: str


class ResendRequest(StrictModel):
    """Request whose archived callbacks are sent again."""

    request_id: str


def _describe_switches(schema: dict[str, Any]) -> None:
    del schema["additionalProperties"]
    schema |= SWITCH_VALUES


class SwitchesRequest(RootModel[dict[str, Any]]):
    """Switches to set; `Switches.update` validates them."""

    model_config = ConfigDict(json_schema_extra=_describe_switches)


class ResolveRequest(RootModel[Addresses]):
    """Addresses on this machine in place of listeners, as `host:port` to `address:port`."""

    model_config = ConfigDict(strict=True)
