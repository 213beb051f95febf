"""Exponential backoff: growth, bounds and jitter."""

from __future__ import annotations

import pytest

from thingspace_provider.common.backoff import exponential_backoff, no_jitter


def test_backoff_doubles_up_to_the_maximum() -> None:
    assert [exponential_backoff(attempt, 1, 300, no_jitter) for attempt in (0, 1, 2, 100)] == [1, 2, 4, 300]


def test_jitter_takes_away_at_most_half() -> None:
    assert [exponential_backoff(attempt, 1, 300, lambda: 0.0) for attempt in (0, 1, 2, 100)] == [0.5, 1, 2, 150]


def test_backoff_is_finite_for_any_number_of_attempts() -> None:
    assert exponential_backoff(10_000_000, 0.5, 20, no_jitter) == 20


def test_backoff_never_shrinks_below_the_maximum() -> None:
    for _ in range(100):
        waits = [exponential_backoff(attempt, 1, 1000) for attempt in range(9)]
        assert waits == sorted(waits)


def test_default_jitter_is_random() -> None:
    assert len({exponential_backoff(3, 1, 100) for _ in range(20)}) > 1
    assert exponential_backoff(3, 1, 100) == pytest.approx(6, abs=2)
