"""Retries: which errors, how often, with which backoff, and the lines that report them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE
from tests.support.fake_deadline import FakeTime
from tests.support.fake_transport import FakeTransport
from thingspace_provider.api import Credentials, Limits, Registration, ThingSpaceClient, errors
from thingspace_provider.api.rate_limiter import RateLimiter

WANTED = Registration(SERVICE, "https://sms.example.com/x", "plant-a", "example-only")


def fault(
    transport: FakeTransport, operation: str, *, response: dict[str, Any] | None = None, drop: str = "", times: int = 1
) -> None:
    """Return an error response to the next calls, or drop their connection before or after they take effect."""
    if response is None:
        transport.drop(operation, drop, times)
    else:
        transport.add_fault(operation, response["status"], "", times, response.get("headers"))


@pytest.mark.parametrize("operation", ["token", "listCallbacks", "registerCallback"])
@pytest.mark.parametrize(
    "does",
    [{"response": {"status": 500}, "times": 3}, {"drop": "before"}, {"drop": "after"}, {"response": {"status": 429}}],
)
def test_transient_error_is_retried_and_reported(
    client: ThingSpaceClient, transport: FakeTransport, operation: str, does: dict[str, Any]
) -> None:
    fake_time = FakeTime()
    client = client.with_deadline(fake_time.build_deadline())
    fault(transport, operation, **{"times": 1, **does})
    if operation == "registerCallback":
        client.register_callback(ACCOUNT, WANTED)
    assert (WANTED in client.list_callbacks(ACCOUNT)) is (operation == "registerCallback")
    assert len(fake_time.logged) == does.get("times", 1) <= len(fake_time.backoffs)
    assert all("retrying in" in line for line in fake_time.logged)
    assert "example-only" not in "".join(fake_time.logged)


def test_backoff_grows_with_jitter_and_the_error_counts_the_attempts(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    runs = []
    for _ in range(2):
        fake_time = FakeTime()
        fault(transport, "startCallbacks", response={"status": 503}, times=6)
        with pytest.raises(errors.ServerError, match="after 6 attempts in"):
            client.with_deadline(fake_time.build_deadline()).start_callbacks(ACCOUNT)
        assert [int(a < b) for a, b in zip(fake_time.backoffs[1:], fake_time.backoffs[2:], strict=False)] == [1, 1, 1]
        runs.append(fake_time.backoffs)
    assert runs[0] != runs[1]


def test_a_permanent_error_is_not_retried(client: ThingSpaceClient, transport: FakeTransport) -> None:
    fake_time = FakeTime()
    with pytest.raises(errors.AccountRejected):
        client.with_deadline(fake_time.build_deadline()).start_callbacks("0000000000-99999")
    assert (transport.count_calls()["startCallbacks"], fake_time.logged) == (1, [])


def test_a_registration_that_took_effect_without_a_response_is_not_sent_twice(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    fault(transport, "registerCallback", drop="after", times=1)
    client.with_deadline(FakeTime().build_deadline()).register_callback(ACCOUNT, WANTED)
    assert (transport.count_calls()["registerCallback"], transport.count_calls()["listCallbacks"]) == (1, 1)
    fault(transport, "registerCallback", drop="before", times=1)
    client.with_deadline(FakeTime().build_deadline()).register_callback(OTHER_ACCOUNT, WANTED)
    assert transport.count_calls()["registerCallback"] == 3
    assert client.list_callbacks(OTHER_ACCOUNT) == [WANTED]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_deregistration_without_a_response_is_retried_and_a_missing_one_is_success(
    client: ThingSpaceClient, transport: FakeTransport, moment: str
) -> None:
    client.register_callback(ACCOUNT, WANTED)
    fault(transport, "deregisterCallback", drop=moment, times=1)
    client.with_deadline(FakeTime().build_deadline()).deregister_callback(ACCOUNT, SERVICE)
    assert client.list_callbacks(ACCOUNT) == []
    assert transport.count_calls()["deregisterCallback"] == 2


def test_a_rejected_deregistration_of_an_existing_registration_is_an_error(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    client.register_callback(ACCOUNT, WANTED)
    transport.add_fault(
        "deregisterCallback", 400, {"errorCode": "X.REQUEST_FAILED.UnexpectedError", "errorMessage": "no"}
    )
    with pytest.raises(errors.ErrorResponse, match="UnexpectedError"):
        client.deregister_callback(ACCOUNT, SERVICE)


@pytest.mark.parametrize("does", [{"drop": "after"}, {"response": {"status": 500}}])
def test_logins_with_unknown_outcomes_stop_before_the_lockout(
    user: Credentials, transport: FakeTransport, does: dict[str, Any]
) -> None:
    client = ThingSpaceClient(user, transport)
    fault(transport, "login", times=9, **does)
    with pytest.raises((errors.NoResponse, errors.ServerError)):
        client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    for _ in range(3):
        with pytest.raises(errors.LoginBlocked, match="2 logins of this run had an unknown outcome"):
            client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 2
    transport.clear_faults()
    ThingSpaceClient(user, transport).start_callbacks(ACCOUNT)  # as the next run does


def test_a_login_that_thingspace_did_not_evaluate_is_retried(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    fault(transport, "login", response={"status": 503}, times=4)
    client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 5


def test_retry_after_is_respected_by_every_thread(user: Credentials, transport: FakeTransport) -> None:
    client = ThingSpaceClient(user, transport)
    client.start_callbacks(ACCOUNT)
    fault(transport, "startCallbacks", response={"status": 429, "headers": {"Retry-After": "2"}}, times=1)
    first = FakeTime()
    requested_at = time.monotonic()
    client.with_deadline(first.build_deadline()).start_callbacks(
        ACCOUNT
    )  # its own pauses take no time; the shared pace does
    other = FakeTime()
    client.with_deadline(other.build_deadline()).start_callbacks(OTHER_ACCOUNT)
    assert first.backoffs[0] >= 2
    held = sum(other.backoffs) + time.monotonic() - requested_at
    assert held >= 2


def test_a_wait_beyond_the_deadline_fails_at_once_and_is_reported(
    client: ThingSpaceClient, transport: FakeTransport
) -> None:
    fault(transport, "startCallbacks", response={"status": 429, "headers": {"Retry-After": "900"}}, times=1)
    fake_time = FakeTime()
    with pytest.raises(errors.RateLimited, match=r"a pause of 900 s \(Retry-After\)\. Run it again after 900 s"):
        client.with_deadline(fake_time.build_deadline()).start_callbacks(ACCOUNT)
    with pytest.raises(errors.DeadlineExceeded, match=r"requested a pause \(Retry-After\), \d+ s are left") as held:
        client.with_deadline(fake_time.build_deadline()).start_callbacks(OTHER_ACCOUNT)
    assert "THINGSPACE_RESOURCE_TIMEOUT_SECONDS" not in str(held.value)  # which cannot help
    assert fake_time.backoffs == []


def test_a_rate_limit_beyond_the_deadline_names_its_setting_and_reserves_no_call(
    user: Credentials, transport: FakeTransport
) -> None:
    client = ThingSpaceClient(
        user, transport, limits=Limits(calls_per_second=1), clock=lambda: 0
    )  # a call at once, then one each second

    def started(seconds: float) -> list[float]:
        fake_time = FakeTime()
        client.with_deadline(fake_time.build_deadline(Limits(resource_timeout_seconds=seconds))).start_callbacks(
            ACCOUNT
        )
        return fake_time.backoffs

    assert started(120) == [1, 2]  # the login, then the call
    for _ in range(50):
        with pytest.raises(errors.DeadlineExceeded, match=r"is 1 calls per second\. .* THINGSPACE_CALLS_PER_SECOND"):
            started(0.1)
    assert started(120) == [3]


def test_the_rate_limiter_permits_a_burst_of_one_second_and_then_call_by_call() -> None:
    now = 100.0
    rate_limiter = RateLimiter(10, lambda: now)
    delays = [rate_limiter.reserve() for _ in range(15)]
    assert delays[:10] == [pytest.approx(0)] * 10
    assert delays[10:] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [rate_limiter.reserve(0.5), rate_limiter.reserve(0.55)] == pytest.approx(
        [0.6, 0.6]
    )  # too late for either: it is left
    assert rate_limiter.pause_remaining() == 0
    rate_limiter.pause(5)
    assert [rate_limiter.reserve(), rate_limiter.pause_remaining()] == pytest.approx([5.1, 5])


def test_a_logout_ends_the_session_once(client: ThingSpaceClient, transport: FakeTransport) -> None:
    client.logout()  # there is none yet
    client.start_callbacks(ACCOUNT)
    client.logout()
    client.logout()
    assert transport.count_calls()["logout"] == 1
    client.start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 2


def test_a_failed_logout_raises_no_error(client: ThingSpaceClient, transport: FakeTransport) -> None:
    client.start_callbacks(ACCOUNT)
    fault(transport, "logout", drop="before", times=1)
    client.logout()
