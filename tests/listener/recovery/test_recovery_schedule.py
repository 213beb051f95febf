"""When a queue is asked for, by a clock that the test turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from thingspace_provider.listener.recovery.schedule import Schedule

SETTLE, EVERY = 10.0, 900.0


def test_it_is_asked_for_after_the_start_and_then_now_and_then() -> None:
    schedule = Schedule(SETTLE, EVERY, 0)
    assert schedule.due == 10
    schedule.asked(10, 11)
    assert schedule.due == 911


def test_a_refusal_is_followed_by_a_question_once_it_has_settled() -> None:
    schedule = Schedule(SETTLE, EVERY, 0)
    schedule.asked(10, 11)
    schedule.wanted(500)
    schedule.wanted(505)  # does not put it off
    assert schedule.due == 510


def test_refusals_that_go_on_are_followed_by_ever_fewer_questions_until_a_quiet_time() -> None:
    schedule = Schedule(SETTLE, EVERY, 0)
    times = []
    now = 10.0
    for _ in range(7):
        schedule.asked(now, now)
        schedule.wanted(now + 1)
        times.append(schedule.due - now)
        now = schedule.due
    assert times == [60, 120, 240, 480, 900, 900, 900]
    schedule.asked(now, now)  # and no further refusal
    schedule.asked(now + 900, now + 900)
    schedule.wanted(now + 901)
    assert schedule.due == now + 960


def test_a_refusal_while_it_is_asked_for_is_not_forgotten() -> None:
    schedule = Schedule(SETTLE, EVERY, 0)
    schedule.wanted(12)
    schedule.asked(10, 15)
    assert schedule.due == 75


def test_what_could_not_be_asked_for_is_tried_later_and_later() -> None:
    schedule = Schedule(SETTLE, EVERY, 0)
    pauses = []
    now = 10.0
    for _ in range(6):
        schedule.failed(now)
        pauses.append(schedule.due - now)
        now = schedule.due
    assert pauses == [60, 120, 240, 480, 900, 900]
    schedule.asked(now, now)
    assert schedule.due == now + 900


def test_another_listeners_question_serves_for_a_start_but_for_a_refusal_only_when_that_has_settled() -> None:
    schedule = Schedule(SETTLE, EVERY, 100)
    assert schedule.enough == 100
    schedule.wanted(105)
    assert schedule.enough == 115


@given(
    st.lists(st.tuples(st.sampled_from(["wanted", "asked", "failed", "postponed"]), st.floats(0, 2000)), max_size=60)
)
def test_whatever_happens_it_is_asked_for_again_and_not_too_often(steps: list[tuple[str, float]]) -> None:
    schedule, now, last = Schedule(SETTLE, EVERY, 0), 0.0, -SETTLE * 6
    for step, seconds in steps:
        now = max(now, schedule.due) if step in ("asked", "failed", "postponed") else now + seconds
        if step == "asked":
            assert now >= last + 60 - 1e-6
            last = now
            schedule.asked(now, now)
        else:
            getattr(schedule, step)(now)
        assert schedule.due <= now + EVERY
