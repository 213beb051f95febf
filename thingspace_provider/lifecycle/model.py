"""Data model of the lifecycles: states as plain dictionaries, the results of each step, and the context.

This module does not import Pulumi. `providers.py` converts between the engine's values and these. A value that Pulumi
does not know before the update runs is `UNKNOWN`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from thingspace_provider import api

State = dict[str, Any]  # inputs or outputs with camelCase keys, as the stack's state holds them
FingerprintOf = Callable[["str | None"], str]  # profile -> base-URL fingerprint; needs no network and no credentials


class Unknown:
    """Type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def is_unknown(value: object) -> bool:
    """Return whether the value is, or contains, an unknown value."""
    if isinstance(value, dict):
        return any(is_unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(is_unknown(item) for item in value)
    return isinstance(value, Unknown)


@dataclass(frozen=True)
class CheckFailure:
    """An invalid input.

    Args:
        key: the input; "" for a secret, because the engine prints the value of the named input.
        reason: what is wrong, and what is valid.
    """

    key: str
    reason: str


@dataclass
class CheckResult:
    """Inputs in normal form, with defaults. They are valid if there are no failures."""

    inputs: State
    failures: list[CheckFailure] = field(default_factory=list)


@dataclass(frozen=True)
class DiffResult:
    """Effect of an update: none, an update in place, or a replacement caused by the keys in `replaces`."""

    changes: bool
    replaces: list[str] = field(default_factory=list)
    delete_before_replace: bool = False


@dataclass(frozen=True)
class CreateResult:
    """Id and outputs of a new resource."""

    id: str
    outputs: State


@dataclass(frozen=True)
class ReadResult:
    """Outputs and inputs of a resource as they are now.

    Args:
        outputs: the outputs to record.
        inputs: the inputs to record; None keeps those in the state.
        secrets: keys of both that are secrets even if the program does not mark them, as in a foreign registration.
    """

    outputs: State
    inputs: State | None
    secrets: Collection[str] = ()


@dataclass(frozen=True)
class Context:
    """Services that a lifecycle uses during one resource operation.

    Args:
        client: returns the ThingSpace client of a profile (None is the default profile), created on first use.
        log: prints one line in the output of `pulumi up`.
        now: returns the current time with its UTC offset.
        fingerprint: returns the base-URL fingerprint of a profile.
    """

    client: Callable[[str | None], api.ThingSpaceClient]
    log: Callable[[str], None]
    now: Callable[[], dt.datetime]
    fingerprint: FingerprintOf

    def timestamp(self) -> str:
        """Return the current time as the state holds it: ISO 8601 in UTC, whole seconds."""
        return self.now().astimezone(dt.timezone.utc).isoformat(timespec="seconds")


def base_url_changed(olds: State, profile: object, fingerprint_of: FingerprintOf) -> bool:
    """Return whether the state was written for another base URL than the profile has now."""
    if profile is not None and not isinstance(profile, str):  # unknown, or invalid as `check` reports
        return False
    return bool(olds.get("baseUrlFingerprint") != fingerprint_of(profile))


class Lifecycle(Protocol):
    """Behaviour of one resource type. `check` and `diff` use no network and no credentials."""

    def check(self, news: State) -> CheckResult:
        """Validate the inputs and fill in defaults."""

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Compare the recorded outputs with the checked inputs."""

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Create the resource. A second create after an interrupted one has the same result."""

    def read(self, context: Context, id_: str, outputs: State) -> ReadResult | None:
        """Return the resource as it is now, or None if it no longer exists.

        Args:
            context: services of the resource operation.
            id_: the id of the resource.
            outputs: the recorded outputs; only the program's inputs if the resource is read by id.
        """

    def update(self, context: Context, olds: State, news: State) -> State:
        """Change the resource in place and return its new outputs."""

    def delete(self, context: Context, outputs: State) -> None:
        """Delete the resource. Succeeds if it no longer exists."""
