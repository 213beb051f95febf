"""What a store promises: what `append` has taken is on disk when it returns, in one order that never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from thingspace_provider.listener.callback import Callback, Device


class StoreFailed(Exception):
    """The store could not do it now; what was to be stored is not stored."""


class StoreUnusable(Exception):
    """The store cannot be opened, or not with the promise it has to keep; the text says what to do."""


class Arrival(NamedTuple):
    """A callback that came for an account, `received` microseconds after 1970 by the listener's clock."""

    account: str
    received: int
    callback: Callback


@dataclass(frozen=True)
class Stored:
    """One stored callback. Ids grow in the order of storage; `received` is microseconds after 1970."""

    id: int
    account: str
    kind: str
    devices: tuple[Device, ...]
    text: str | None
    request_id: str | None
    received: int
    duplicate_of: int | None
    raw: bytes


@dataclass(frozen=True)
class Selection:
    """Which callbacks to read: those after an id, at most `limit`; None for an account or kind means any.

    `last` selects the newest `limit` instead of the oldest; either way the oldest comes first.
    """

    limit: int
    after: int = 0
    account: str | None = None
    kind: str | None = None
    last: bool = False


class Store(Protocol):
    """Append and prove are called by one thread at a time, read by any."""

    def append(self, arrivals: Sequence[Arrival]) -> None:
        """Store all or none, durably. Raises StoreFailed."""

    def prove(self) -> None:
        """Write something durably that no reader sees. Raises StoreFailed."""

    def tidy(self) -> None:
        """Do, after the answers are out, what would have delayed them."""

    def read(self, selection: Selection) -> list[Stored]:
        """Stored callbacks in the order of storage. Raises StoreFailed."""

    def close(self) -> None:
        """Let go of the store."""
