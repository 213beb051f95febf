"""What every resource's behaviour is written in: plain dictionaries, four small answers, one context.

Nothing here knows Pulumi. An adapter turns its engine's values into these and back; a value that a preview
does not know yet is `UNKNOWN`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from thingspace_provider import api

State = dict[str, Any]  # keys in camelCase, as they stand in the stack's state
FingerprintOf = Callable[
    ["str | None"], str
]  # profile -> what tells its ThingSpace from others; no network, no credentials


class Unknown:
    """The type of UNKNOWN."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def is_unknown(value: object) -> bool:
    """Whether a value, or anything inside it, is not known yet."""
    if isinstance(value, dict):
        return any(is_unknown(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(is_unknown(item) for item in value)
    return isinstance(value, Unknown)


@dataclass(frozen=True)
class CheckFailure:
    """A wrong input: its key, and what is wrong with it and how it would be right.

    The engine prints the value of the named key, so a secret is reported under the key "".
    """

    key: str
    reason: str


@dataclass
class CheckResult:
    """Inputs with defaults filled in and forms made equal; usable when there are no failures."""

    inputs: State
    failures: list[CheckFailure] = field(default_factory=list)


@dataclass(frozen=True)
class DiffResult:
    """What an update would mean: nothing, an update in place, or a replacement because of some keys."""

    changes: bool
    replaces: list[str] = field(default_factory=list)
    delete_before_replace: bool = False


@dataclass(frozen=True)
class CreateResult:
    """A new resource: its id and everything to remember of it."""

    id: str
    outputs: State


@dataclass(frozen=True)
class ReadResult:
    """What was found of a resource: everything to remember, and the inputs as they now are.

    secrets: keys of both that are secrets whatever the program thinks of them, because somebody else set them.
    """

    outputs: State
    inputs: State
    secrets: Collection[str] = ()


@dataclass(frozen=True)
class Context:
    """What a resource's behaviour needs of the world around it.

    Args:
        client: ThingSpace for a profile (None is the default one); made when it is first asked for.
        say: tells the person who runs the update one line.
        now: the present time, with its offset.
        where: which ThingSpace a profile calls.
    """

    client: Callable[[str | None], api.ThingSpaceClient]
    log: Callable[[str], None]
    now: Callable[[], dt.datetime]
    fingerprint: FingerprintOf

    def timestamp(self) -> str:
        """The present time for the state: ISO 8601 in UTC, whole seconds."""
        return self.now().astimezone(dt.timezone.utc).isoformat(timespec="seconds")


def base_url_changed(olds: State, profile: object, fingerprint_of: FingerprintOf) -> bool:
    """Whether something was done at another ThingSpace than the one of the profile. States of 0.1.0 do not tell."""
    if "place" not in olds or not (profile is None or isinstance(profile, str)):
        return False
    return bool(olds["place"] != fingerprint_of(profile))


class Lifecycle(Protocol):
    """The behaviour of one kind of resource. check and diff use no network."""

    def check(self, news: State) -> CheckResult:
        """Fill in defaults and find what is wrong, before anything is changed."""

    def diff(self, olds: State, news: State, fingerprint_of: FingerprintOf) -> DiffResult:
        """Compare what is remembered (outputs) with what is wanted (checked inputs)."""

    def create(self, context: Context, inputs: State) -> CreateResult:
        """Make it so; running it again after an interruption ends in the same."""

    def read(self, context: Context, outputs: State) -> ReadResult | None:
        """What is really there, or None when it is gone."""

    def update(self, context: Context, olds: State, news: State) -> State:
        """Change it in place; returns everything to remember."""

    def delete(self, context: Context, outputs: State) -> None:
        """Take it away; that it is already gone is success."""
