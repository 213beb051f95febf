"""What replicas on one store have in common beside texts: whose turn it is, and a few numbers."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager
from typing import Protocol


class Shared(Protocol):
    """Called by one thread, which is not the one that stores."""

    def turn(self, name: str) -> AbstractContextManager[bool]:
        """Whether this listener is the only one that has this turn, for as long as the block lasts."""

    def now(self) -> int:
        """Microseconds after 1970 by one clock for all. Raises StoreFailed."""

    def noted(self, name: str) -> int:
        """The number that was noted last under a name, 0 without one. Raises StoreFailed."""

    def note(self, name: str, number: int) -> None:
        """Note a number for all. Raises StoreFailed."""


class Alone:
    """For a listener that has its store to itself: it always has the turn, and a restart begins anew."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def turn(self, name: str) -> AbstractContextManager[bool]:
        """It has."""
        del name
        return contextlib.nullcontext(True)

    def now(self) -> int:
        """This machine's clock."""
        return time.time_ns() // 1000

    def noted(self, name: str) -> int:
        """What this process noted."""
        return self._numbers.get(name, 0)

    def note(self, name: str, number: int) -> None:
        """Note it for this process."""
        self._numbers[name] = number
