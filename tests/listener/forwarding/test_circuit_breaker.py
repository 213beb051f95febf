"""When a sink is left alone, and when it is asked again; by a clock that the test moves."""

from __future__ import annotations

import pytest

from thingspace_provider.listener.forwarding.circuit_breaker import (
    FAILURE_THRESHOLD,
    INITIAL_BACKOFF_SECONDS,
    MAX_BACKOFF_SECONDS,
    CircuitBreaker,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    """Without chance: every pause is as long as it can be."""
    return CircuitBreaker(clock, lambda: 1.0)


def fail(breaker: CircuitBreaker, times: int, device: str = "a", *, itself: bool = True, after: float = 0) -> None:
    for _ in range(times):
        breaker.record_failure(device, "broken", sink_wide=itself, retry_after_seconds=after)


def test_it_opens_when_the_sink_itself_failed_often_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURE_THRESHOLD - 1)
    breaker.record_success()
    fail(breaker, FAILURE_THRESHOLD - 1)
    assert breaker.permits(64) == 64
    fail(breaker, 1)
    assert (breaker.is_open, breaker.permits(64), breaker.last_error) == (True, 0, "broken")


def test_one_device_alone_never_opens_it_but_many_do(breaker: CircuitBreaker) -> None:
    fail(breaker, 100, itself=False)
    assert not breaker.is_open
    for number in range(FAILURE_THRESHOLD - 1):
        fail(breaker, 1, f"b{number}", itself=False)
    assert breaker.is_open


def test_one_probe_goes_after_each_pause_and_the_pauses_grow_to_a_limit(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    pauses = []
    for _ in range(10):
        pauses.append(breaker.seconds_until_probe())
        clock.now += breaker.seconds_until_probe() - 0.001
        assert breaker.permits(64) == 0
        clock.now += 0.002
        assert breaker.permits(64) == 1
        breaker.record_start()
        assert breaker.permits(64) == 0
        fail(breaker, 1)
    assert pauses == pytest.approx(
        [INITIAL_BACKOFF_SECONDS * 2**number for number in range(6)] + [MAX_BACKOFF_SECONDS] * 4
    )


def test_a_probe_that_is_delivered_closes_it_and_the_next_pause_is_short_again(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    clock.now += INITIAL_BACKOFF_SECONDS
    breaker.record_start()
    breaker.record_success()
    assert (breaker.is_open, breaker.permits(64), breaker.seconds_until_probe(), breaker.last_error) == (
        False,
        64,
        0,
        "",
    )
    fail(breaker, FAILURE_THRESHOLD)
    assert breaker.seconds_until_probe() == INITIAL_BACKOFF_SECONDS


def test_what_began_before_it_opened_neither_closes_it_nor_lengthens_the_pause(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    breaker.record_success()
    fail(breaker, 10)
    assert (breaker.is_open, breaker.seconds_until_probe()) == (True, INITIAL_BACKOFF_SECONDS)


def test_a_probe_without_a_response_permits_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    clock.now += INITIAL_BACKOFF_SECONDS
    breaker.record_start()
    breaker.abandon_probe()
    assert breaker.permits(64) == 1


def test_a_sink_that_asks_for_a_pause_gets_it_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 1, after=30)
    assert (breaker.is_open, breaker.seconds_until_probe()) == (True, 30)
    clock.now += 30
    assert breaker.permits(64) == 1
