"""Links tests to the rows of the fidelity table that they verify."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


def holds(*rows: str) -> Callable[[Test], Test]:
    """Mark a test with the names of the rows that it verifies."""

    def mark(test: Test) -> Test:
        test.holds = rows  # type: ignore[attr-defined]
        return test

    return mark
