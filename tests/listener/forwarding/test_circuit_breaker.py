"""Circuit breaker with a clock that the test moves."""

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
    """Circuit breaker without jitter."""
    return CircuitBreaker(clock, lambda: 1.0)


def fail(
    breaker: CircuitBreaker, times: int, device: str = "a", *, sink_wide: bool = True, retry_after: float = 0
) -> None:
    for _ in range(times):
        breaker.record_failure(device, "broken", sink_wide=sink_wide, retry_after_seconds=retry_after)


def test_circuit_breaker_opens_when_the_sink_fails_five_times_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURE_THRESHOLD - 1)
    breaker.record_success()
    fail(breaker, FAILURE_THRESHOLD - 1)
    assert breaker.permits(64) == 64
    fail(breaker, 1)
    assert (breaker.is_open, breaker.permits(64), breaker.last_error) == (True, 0, "broken")


def test_failures_of_one_device_never_open_it_but_those_of_five_do(breaker: CircuitBreaker) -> None:
    fail(breaker, 100, sink_wide=False)
    assert not breaker.is_open
    for number in range(FAILURE_THRESHOLD - 1):
        fail(breaker, 1, f"b{number}", sink_wide=False)
    assert breaker.is_open


def test_one_probe_delivery_is_permitted_after_each_backoff(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    backoffs = []
    for _ in range(10):
        backoffs.append(breaker.seconds_until_probe())
        clock.now += breaker.seconds_until_probe() - 0.001
        assert breaker.permits(64) == 0
        clock.now += 0.002
        assert breaker.permits(64) == 1
        breaker.record_start()
        assert breaker.permits(64) == 0
        fail(breaker, 1)
    assert backoffs == pytest.approx(
        [INITIAL_BACKOFF_SECONDS * 2**number for number in range(6)] + [MAX_BACKOFF_SECONDS] * 4
    )


def test_a_successful_probe_delivery_closes_it_and_resets_the_backoff(breaker: CircuitBreaker, clock: Clock) -> None:
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


def test_deliveries_that_started_before_it_opened_have_no_effect(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    breaker.record_success()
    fail(breaker, 10)
    assert (breaker.is_open, breaker.seconds_until_probe()) == (True, INITIAL_BACKOFF_SECONDS)


def test_an_abandoned_probe_delivery_permits_the_next(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURE_THRESHOLD)
    clock.now += INITIAL_BACKOFF_SECONDS
    breaker.record_start()
    breaker.abandon_probe()
    assert breaker.permits(64) == 1


def test_a_retry_after_opens_it_at_once(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 1, retry_after=30)
    assert (breaker.is_open, breaker.seconds_until_probe()) == (True, 30)
    clock.now += 30
    assert breaker.permits(64) == 1
