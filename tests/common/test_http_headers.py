"""Retry-After: both of its forms, dates without a zone, and invalid values."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from thingspace_provider.common.http_headers import parse_retry_after

NOW = 1_772_366_400.0  # Sun, 01 Mar 2026 12:00:00 UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17),
        (" 17 ", 17),
        ("0", 0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0),
        ("99999999999", 99_999_999_999),
    ],
)
def test_seconds_and_dates_are_parsed(value: str, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-5", "1.5", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT ONE}", "Sun, 01 Mar 99999 12:00:00 GMT"],
)
def test_an_invalid_value_is_no_wait(value: str) -> None:
    assert parse_retry_after(value, NOW) == 0


@pytest.fixture
def local_time_west_of_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(os.environ, "TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("local_time_west_of_utc")
@pytest.mark.parametrize("value", ["Sun, 01 Mar 2026 12:00:30", "Sun, 01 Mar 2026 12:00:30 -0000"])
def test_a_date_without_a_zone_is_utc_whatever_the_local_time_zone(value: str) -> None:
    assert parse_retry_after(value, NOW) == 30
