"""When a sink is left alone, and when it is asked again; by a clock that the test moves."""

from __future__ import annotations

import pytest

from thingspace_provider.listener.forwarding.circuit_breaker import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    OPENS_AFTER,
    Breaker,
    growing,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """Without chance: every pause is as long as it can be."""
    return Breaker(clock, lambda: 1.0)


def fail(breaker: Breaker, times: int, device: str = "a", *, itself: bool = True, after: float = 0) -> None:
    for _ in range(times):
        breaker.failed(device, "broken", itself=itself, after=after)


def test_it_opens_when_the_sink_itself_failed_often_in_a_row(breaker: Breaker) -> None:
    fail(breaker, OPENS_AFTER - 1)
    breaker.delivered()
    fail(breaker, OPENS_AFTER - 1)
    assert breaker.room(64) == 64
    fail(breaker, 1)
    assert (breaker.is_open, breaker.room(64), breaker.reason) == (True, 0, "broken")


def test_one_device_alone_never_opens_it_but_many_do(breaker: Breaker) -> None:
    fail(breaker, 100, itself=False)
    assert not breaker.is_open
    for number in range(OPENS_AFTER - 1):
        fail(breaker, 1, f"b{number}", itself=False)
    assert breaker.is_open


def test_one_probe_goes_after_each_pause_and_the_pauses_grow_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, OPENS_AFTER)
    pauses = []
    for _ in range(10):
        pauses.append(breaker.wait())
        clock.now += breaker.wait() - 0.001
        assert breaker.room(64) == 0
        clock.now += 0.002
        assert breaker.room(64) == 1
        breaker.begin()
        assert breaker.room(64) == 0
        fail(breaker, 1)
    assert pauses == pytest.approx([FIRST_SECONDS * 2**number for number in range(6)] + [LONGEST_SECONDS] * 4)


def test_a_probe_that_is_delivered_closes_it_and_the_next_pause_is_short_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, OPENS_AFTER)
    clock.now += FIRST_SECONDS
    breaker.begin()
    breaker.delivered()
    assert (breaker.is_open, breaker.room(64), breaker.wait(), breaker.reason) == (False, 64, 0, "")
    fail(breaker, OPENS_AFTER)
    assert breaker.wait() == FIRST_SECONDS


def test_what_began_before_it_opened_neither_closes_it_nor_lengthens_the_pause(breaker: Breaker) -> None:
    fail(breaker, OPENS_AFTER)
    breaker.delivered()
    fail(breaker, 10)
    assert (breaker.is_open, breaker.wait()) == (True, FIRST_SECONDS)


def test_a_probe_without_a_response_permits_the_next(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, OPENS_AFTER)
    clock.now += FIRST_SECONDS
    breaker.begin()
    breaker.gave_up()
    assert breaker.room(64) == 1


def test_a_sink_that_asks_for_a_pause_gets_it_at_once(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 1, after=30)
    assert (breaker.is_open, breaker.wait()) == (True, 30)
    clock.now += 30
    assert breaker.room(64) == 1


def test_pauses_differ_by_chance_and_never_pass_the_limit() -> None:
    assert [growing(times, 1, 300, lambda: 1.0) for times in (0, 1, 2, 100)] == [1, 2, 4, 300]
    assert [growing(times, 1, 300, lambda: 0.0) for times in (0, 1, 2, 100)] == [0.5, 1, 2, 150]
