"""What is tried again, how often, after which pauses, and what the person at `pulumi up` is told meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.support.callback_servers import reserve_closed_port
from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from tests.support.fake_deadline import FakeTime
from tests.support.waiting import wait_until
from thingspace_provider.api import Credentials, Deadline, Limits, Registration, ThingSpaceClient, errors
from thingspace_provider.api.rate_limiter import RateLimiter
from thingspace_provider.api.transport import RequestsTransport

WANTED = Registration(SERVICE, "https://sms.example.com/x", "plant-a", "example-only")


def fault(emulator: EmulatorProcess, operation: str, **does: Any) -> None:
    emulator.control("POST", "faults", {"operation": operation, **does})


@pytest.mark.parametrize("operation", ["token", "listCallbacks", "registerCallback"])
@pytest.mark.parametrize(
    "does",
    [{"response": {"status": 500}, "times": 3}, {"drop": "before"}, {"drop": "after"}, {"response": {"status": 429}}],
)
def test_transient_error_is_retried_and_reported(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, operation: str, does: dict[str, Any]
) -> None:
    fake_time = FakeTime()
    client = thingspace.with_deadline(fake_time.build_deadline())
    fault(emulator, operation, **{"times": 1, **does})
    if operation == "registerCallback":
        client.register_callback(ACCOUNT, WANTED)
    assert (WANTED in client.list_callbacks(ACCOUNT)) is (operation == "registerCallback")
    assert len(fake_time.logged) == does.get("times", 1) <= len(fake_time.backoffs)
    assert all("retrying in" in line for line in fake_time.logged)
    assert "example-only" not in "".join(fake_time.logged)


def test_pauses_grow_have_jitter_and_the_message_counts_the_attempts(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    runs = []
    for _ in range(2):
        fake_time = FakeTime()
        fault(emulator, "startCallbacks", response={"status": 503}, times=6)
        with pytest.raises(errors.ServerError, match="after 6 attempts in"):
            thingspace.with_deadline(fake_time.build_deadline()).start_callbacks(ACCOUNT)
        assert [int(a < b) for a, b in zip(fake_time.backoffs[1:], fake_time.backoffs[2:], strict=False)] == [1, 1, 1]
        runs.append(fake_time.backoffs)
    assert runs[0] != runs[1]


def test_a_permanent_error_is_not_retried(thingspace: ThingSpaceClient, emulator: EmulatorProcess) -> None:
    fake_time = FakeTime()
    with pytest.raises(errors.AccountRejected):
        thingspace.with_deadline(fake_time.build_deadline()).start_callbacks("0000000000-99999")
    assert (emulator.count_calls()["startCallbacks"], fake_time.logged) == (1, [])


def test_a_registration_that_was_taken_without_an_answer_is_not_sent_twice(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    fault(emulator, "registerCallback", drop="after", times=1)
    thingspace.with_deadline(FakeTime().build_deadline()).register_callback(ACCOUNT, WANTED)
    assert (emulator.count_calls()["registerCallback"], emulator.count_calls()["listCallbacks"]) == (1, 1)
    fault(emulator, "registerCallback", drop="before", times=1)
    thingspace.with_deadline(FakeTime().build_deadline()).register_callback(OTHER_ACCOUNT, WANTED)
    assert emulator.count_calls()["registerCallback"] == 3
    assert thingspace.list_callbacks(OTHER_ACCOUNT) == [WANTED]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_deregistration_without_an_answer_is_repeated_and_already_gone_is_success(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, moment: str
) -> None:
    thingspace.register_callback(ACCOUNT, WANTED)
    fault(emulator, "deregisterCallback", drop=moment, times=1)
    thingspace.with_deadline(FakeTime().build_deadline()).deregister_callback(ACCOUNT, SERVICE)
    assert thingspace.list_callbacks(ACCOUNT) == []
    assert emulator.count_calls()["deregisterCallback"] == 2


def test_a_deregistration_that_is_refused_while_it_stands_is_an_error(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    thingspace.register_callback(ACCOUNT, WANTED)
    emulator.add_fault(
        "deregisterCallback", 400, {"errorCode": "X.REQUEST_FAILED.UnexpectedError", "errorMessage": "no"}
    )
    with pytest.raises(errors.ErrorResponse, match="UnexpectedError"):
        thingspace.deregister_callback(ACCOUNT, SERVICE)


@pytest.mark.parametrize("does", [{"drop": "after"}, {"response": {"status": 500}}])
def test_logins_with_unknown_outcomes_stop_long_before_they_could_lock_the_user(
    credentials: Credentials, emulator: EmulatorProcess, does: dict[str, Any]
) -> None:
    client = ThingSpaceClient(credentials)
    fault(emulator, "login", times=9, **does)
    with pytest.raises((errors.NoResponse, errors.ServerError)):
        client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    for _ in range(3):
        with pytest.raises(errors.LoginBlocked, match="2 logins of this run had an unknown outcome"):
            client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 2
    emulator.control("DELETE", "faults")
    ThingSpaceClient(credentials).start_callbacks(ACCOUNT)  # as the next run does


def test_a_login_that_thingspace_did_not_evaluate_is_retried(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    fault(emulator, "login", response={"status": 503}, times=4)
    thingspace.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 5


def test_retry_after_is_respected_by_every_thread(credentials: Credentials, emulator: EmulatorProcess) -> None:
    client = ThingSpaceClient(credentials)
    client.start_callbacks(ACCOUNT)
    fault(emulator, "startCallbacks", response={"status": 429, "headers": {"Retry-After": "2"}}, times=1)
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
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    fault(emulator, "startCallbacks", response={"status": 429, "headers": {"Retry-After": "900"}}, times=1)
    fake_time = FakeTime()
    with pytest.raises(errors.RateLimited, match=r"a pause of 900 s \(Retry-After\)\. Run it again after 900 s"):
        thingspace.with_deadline(fake_time.build_deadline()).start_callbacks(ACCOUNT)
    with pytest.raises(errors.DeadlineExceeded, match=r"requested a pause \(Retry-After\), \d+ s are left") as held:
        thingspace.with_deadline(fake_time.build_deadline()).start_callbacks(OTHER_ACCOUNT)
    assert "THINGSPACE_RESOURCE_TIMEOUT_SECONDS" not in str(held.value)  # which cannot help
    assert fake_time.backoffs == []


def test_a_rate_limit_beyond_the_deadline_names_its_setting_and_reserves_no_call(credentials: Credentials) -> None:
    client = ThingSpaceClient(
        credentials, limits=Limits(calls_per_second=1), clock=lambda: 0
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


def test_an_operations_calls_share_its_deadline(credentials: Credentials, emulator: EmulatorProcess) -> None:
    fault(emulator, "startCallbacks", hang="before", times=9)
    client = ThingSpaceClient(credentials)
    client.login()
    begun = time.monotonic()
    logged: list[str] = []
    with pytest.raises(errors.ThingSpaceError, match=f"starting SMS callbacks failed for account {ACCOUNT}") as failed:
        client.with_deadline(
            Deadline(Limits(resource_timeout_seconds=5, response_timeout_seconds=0.6), logged.append)
        ).start_callbacks(ACCOUNT)
    assert isinstance(failed.value, errors.NoResponse | errors.DeadlineExceeded)
    assert time.monotonic() - begun < 30  # not a figure of speed: it ended by itself
    assert logged


def test_an_answer_that_comes_byte_by_byte_does_not_outlast_its_time() -> None:
    """A bare socket, because no emulator sends this slowly."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        try:
            with pytest.raises(Exception, match="no complete response within"):
                RequestsTransport().send("GET", url, {}, None, 0.5)
        finally:
            ended.set()
            thread.join(10)


def test_an_address_where_nothing_listens_fails_after_a_few_attempts(credentials: Credentials) -> None:
    fake_time = FakeTime()
    nowhere = ThingSpaceClient(replace(credentials, base_url=f"http://127.0.0.1:{reserve_closed_port()}/api"))
    with pytest.raises(errors.NoResponse, match=r"connection refused.*after 3 attempts") as unreachable:
        nowhere.with_deadline(fake_time.build_deadline()).start_callbacks(ACCOUNT)
    assert not unreachable.value.request_sent


def test_a_slow_call_is_logged(thingspace: ThingSpaceClient, emulator: EmulatorProcess) -> None:
    thingspace.start_callbacks(ACCOUNT)
    fault(emulator, "startCallbacks", hang="before", times=1)
    logged: list[str] = []
    deadline = Deadline(Limits(resource_timeout_seconds=3), logged.append, slow_call_seconds=0.2)
    with pytest.raises(errors.NoResponse):
        thingspace.with_deadline(deadline).start_callbacks(ACCOUNT)
    expected = f"account {ACCOUNT}: starting SMS callbacks: still waiting for the response of ThingSpace"
    assert any(line.startswith(expected) for line in logged)


def test_who_waits_for_anothers_login_ends_at_a_deadline_of_its_own(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    fault(emulator, "login", hang="before", times=1)
    client = ThingSpaceClient(credentials)

    def start(seconds: float) -> str:
        try:
            client.with_deadline(Deadline(Limits(resource_timeout_seconds=seconds))).start_callbacks(ACCOUNT)
        except errors.ThingSpaceError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(start, 8.0)
        wait_until(lambda: emulator.count_calls()["token"], 60, "the first login begins")
        second = pool.submit(start, 0.5)
        assert "waited for the login of another resource" in second.result(60)
        assert not first.done()
    assert "logging in" in first.result(60)


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


def test_a_logout_ends_the_session_once(thingspace: ThingSpaceClient, emulator: EmulatorProcess) -> None:
    thingspace.logout()  # there is none yet
    thingspace.start_callbacks(ACCOUNT)
    thingspace.logout()
    thingspace.logout()
    assert emulator.count_calls()["logout"] == 1
    thingspace.start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 2


def test_a_logout_that_fails_is_nobodys_concern(thingspace: ThingSpaceClient, emulator: EmulatorProcess) -> None:
    thingspace.start_callbacks(ACCOUNT)
    fault(emulator, "logout", drop="before", times=1)
    thingspace.logout()
