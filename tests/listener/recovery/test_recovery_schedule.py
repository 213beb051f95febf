"""Recovery schedule with a clock that the test moves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thingspace_provider.listener.recovery.schedule import RecoverySchedule

DELAY, INTERVAL = 10.0, 900.0


def test_recovery_runs_after_the_start_and_then_at_its_interval() -> None:
    schedule = RecoverySchedule(DELAY, INTERVAL, 0)
    assert schedule.due == 10
    schedule.completed(10, 11)
    assert schedule.due == 911


def test_a_rejection_is_followed_by_a_run_after_the_delay() -> None:
    schedule = RecoverySchedule(DELAY, INTERVAL, 0)
    schedule.completed(10, 11)
    schedule.request(500)
    schedule.request(505)  # does not delay the run
    assert schedule.due == 510


def test_runs_become_less_frequent_while_callbacks_are_rejected_after_each() -> None:
    schedule = RecoverySchedule(DELAY, INTERVAL, 0)
    times = []
    now = 10.0
    for _ in range(7):
        schedule.completed(now, now)
        schedule.request(now + 1)
        times.append(schedule.due - now)
        now = schedule.due
    assert times == [60, 120, 240, 480, 900, 900, 900]
    schedule.completed(now, now)  # without a further rejection
    schedule.completed(now + 900, now + 900)
    schedule.request(now + 901)
    assert schedule.due == now + 960


def test_a_rejection_during_a_run_causes_another() -> None:
    schedule = RecoverySchedule(DELAY, INTERVAL, 0)
    schedule.request(12)
    schedule.completed(10, 15)
    assert schedule.due == 75


def test_failed_runs_are_retried_with_increasing_backoff() -> None:
    schedule = RecoverySchedule(DELAY, INTERVAL, 0)
    backoffs = []
    now = 10.0
    for _ in range(6):
        schedule.failed(now)
        backoffs.append(schedule.due - now)
        now = schedule.due
    assert backoffs == [60, 120, 240, 480, 900, 900]
    schedule.completed(now, now)
    assert schedule.due == now + 900


def test_a_run_of_another_replica_satisfies_a_start_and_after_the_delay_a_rejection() -> None:
    schedule = RecoverySchedule(DELAY, INTERVAL, 100)
    assert schedule.satisfied_after == 100
    schedule.request(105)
    assert schedule.satisfied_after == 115


@given(
    st.lists(
        st.tuples(st.sampled_from(["request", "completed", "failed", "postpone"]), st.floats(0, 2000)), max_size=60
    )
)
def test_recovery_always_runs_again_and_not_too_often(steps: list[tuple[str, float]]) -> None:
    schedule, now, last = RecoverySchedule(DELAY, INTERVAL, 0), 0.0, -DELAY * 6
    for step, seconds in steps:
        now = max(now, schedule.due) if step in ("completed", "failed", "postpone") else now + seconds
        if step == "completed":
            assert now >= last + 60 - 1e-6
            last = now
            schedule.completed(now, now)
        else:
            getattr(schedule, step)(now)
        assert schedule.due <= now + INTERVAL
