"""What replicas on one store have in common beside texts: whose turn it is, and a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Coordination(Protocol):
    """Called by one thread, which is not the one that stores. Every method raises StoreFailed."""

    def leader_lease(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """Take a turn, for as long as the block lasts; what it gives says whether this listener alone has it now."""

    def now(self) -> int:
        """Microseconds after 1970 by one clock for all."""

    def get_value(self, name: str) -> int:
        """The number that was noted last under a name, 0 without one."""

    def set_value(self, name: str, value: int) -> None:
        """Note a number durably, for all."""
