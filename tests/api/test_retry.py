"""What is tried again, how often, after which pauses, and what the person at `pulumi up` is told meanwhile."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.support.callback_servers import closed_port
from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from tests.support.fake_deadline import Waiter
from thingspace_provider.api import Client, Credentials, Limits, Patience, Registration, errors
from thingspace_provider.api.requester import Pace, retry_after
from thingspace_provider.api.transport import Answer, RequestsTransport

WANTED = Registration(SERVICE, "https://sms.example.com/x", "plant-a", "example-only")


def fault(emulator: EmulatorProcess, operation: str, **does: Any) -> None:
    emulator.control("POST", "faults", {"operation": operation, **does})


@pytest.mark.parametrize("operation", ["token", "listCallbacks", "registerCallback"])
@pytest.mark.parametrize(
    "does",
    [{"answer": {"status": 500}, "times": 3}, {"drop": "before"}, {"drop": "after"}, {"answer": {"status": 429}}],
)
def test_a_passing_failure_is_waited_out_and_said(
    thingspace: Client, emulator: EmulatorProcess, operation: str, does: dict[str, Any]
) -> None:
    waiter = Waiter()
    client = thingspace.within(waiter.patience())
    fault(emulator, operation, **{"times": 1, **does})
    if operation == "registerCallback":
        client.register_callback(ACCOUNT, WANTED)
    assert (WANTED in client.list_callbacks(ACCOUNT)) is (operation == "registerCallback")
    assert len(waiter.said) == does.get("times", 1) <= len(waiter.pauses)
    assert all("trying again in" in line for line in waiter.said)
    assert "example-only" not in "".join(waiter.said)


def test_pauses_grow_have_jitter_and_the_message_counts_the_attempts(
    thingspace: Client, emulator: EmulatorProcess
) -> None:
    runs = []
    for _ in range(2):
        waiter = Waiter()
        fault(emulator, "startCallbacks", answer={"status": 503}, times=6)
        with pytest.raises(errors.ServerFault, match="after 6 attempts in"):
            thingspace.within(waiter.patience()).start_callbacks(ACCOUNT)
        assert [int(a < b) for a, b in zip(waiter.pauses[1:], waiter.pauses[2:], strict=False)] == [1, 1, 1]
        runs.append(waiter.pauses)
    assert runs[0] != runs[1]


def test_what_is_refused_for_good_is_not_tried_again(thingspace: Client, emulator: EmulatorProcess) -> None:
    waiter = Waiter()
    with pytest.raises(errors.AccountRefused):
        thingspace.within(waiter.patience()).start_callbacks("0000000000-99999")
    assert (emulator.calls()["startCallbacks"], waiter.said) == (1, [])


def test_a_registration_that_was_taken_without_an_answer_is_not_sent_twice(
    thingspace: Client, emulator: EmulatorProcess
) -> None:
    fault(emulator, "registerCallback", drop="after", times=1)
    thingspace.within(Waiter().patience()).register_callback(ACCOUNT, WANTED)
    assert (emulator.calls()["registerCallback"], emulator.calls()["listCallbacks"]) == (1, 1)
    fault(emulator, "registerCallback", drop="before", times=1)
    thingspace.within(Waiter().patience()).register_callback(OTHER_ACCOUNT, WANTED)
    assert emulator.calls()["registerCallback"] == 3
    assert thingspace.list_callbacks(OTHER_ACCOUNT) == [WANTED]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_deregistration_without_an_answer_is_repeated_and_already_gone_is_success(
    thingspace: Client, emulator: EmulatorProcess, moment: str
) -> None:
    thingspace.register_callback(ACCOUNT, WANTED)
    fault(emulator, "deregisterCallback", drop=moment, times=1)
    thingspace.within(Waiter().patience()).deregister_callback(ACCOUNT, SERVICE)
    assert thingspace.list_callbacks(ACCOUNT) == []
    assert emulator.calls()["deregisterCallback"] == 2


def test_a_deregistration_that_is_refused_while_it_stands_is_an_error(
    thingspace: Client, emulator: EmulatorProcess
) -> None:
    thingspace.register_callback(ACCOUNT, WANTED)
    emulator.fault("deregisterCallback", 400, {"errorCode": "X.REQUEST_FAILED.UnexpectedError", "errorMessage": "no"})
    with pytest.raises(errors.Refused, match="UnexpectedError"):
        thingspace.deregister_callback(ACCOUNT, SERVICE)


@pytest.mark.parametrize("does", [{"drop": "after"}, {"answer": {"status": 500}}])
def test_logins_without_a_clear_answer_stop_long_before_they_could_lock_the_user(
    credentials: Credentials, emulator: EmulatorProcess, does: dict[str, Any]
) -> None:
    client = Client(credentials)
    fault(emulator, "login", times=9, **does)
    with pytest.raises((errors.Unreachable, errors.ServerFault)):
        client.within(Waiter().patience()).start_callbacks(ACCOUNT)
    for _ in range(3):
        with pytest.raises(errors.LoginHeld, match="2 logins got no clear answer"):
            client.within(Waiter().patience()).start_callbacks(ACCOUNT)
    assert emulator.calls()["login"] == 2
    emulator.control("DELETE", "faults")
    Client(credentials).start_callbacks(ACCOUNT)  # as the next run does


def test_a_login_that_was_turned_away_unjudged_is_waited_out(thingspace: Client, emulator: EmulatorProcess) -> None:
    fault(emulator, "login", answer={"status": 503}, times=4)
    thingspace.within(Waiter().patience()).start_callbacks(ACCOUNT)
    assert emulator.calls()["login"] == 5


def test_retry_after_is_kept_to_by_every_thread(credentials: Credentials, emulator: EmulatorProcess) -> None:
    client = Client(credentials)
    client.start_callbacks(ACCOUNT)
    fault(emulator, "startCallbacks", answer={"status": 429, "headers": {"Retry-After": "2"}}, times=1)
    first = Waiter()
    asked = time.monotonic()
    client.within(first.patience()).start_callbacks(ACCOUNT)  # its own pauses take no time; the shared pace does
    other = Waiter()
    client.within(other.patience()).start_callbacks(OTHER_ACCOUNT)
    assert first.pauses[0] >= 2
    held = sum(other.pauses) + time.monotonic() - asked
    assert held >= 2


def test_a_longer_wait_than_there_is_time_for_fails_at_once_and_says_so(
    thingspace: Client, emulator: EmulatorProcess
) -> None:
    fault(emulator, "startCallbacks", answer={"status": 429, "headers": {"Retry-After": "900"}}, times=1)
    waiter = Waiter()
    with pytest.raises(errors.RateLimited, match=r"a pause of 900 s \(Retry-After\)\. Run it again after these"):
        thingspace.within(waiter.patience()).start_callbacks(ACCOUNT)
    with pytest.raises(errors.TookTooLong, match=r"asked for a pause \(Retry-After\), of which \d+ s are left") as held:
        thingspace.within(waiter.patience()).start_callbacks(OTHER_ACCOUNT)
    assert "THINGSPACE_DEADLINE" not in str(held.value)  # which cannot help
    assert waiter.pauses == []


def test_a_pace_that_leaves_no_turn_in_time_names_its_setting_and_costs_no_turn(credentials: Credentials) -> None:
    client = Client(credentials, limits=Limits(rate=1), clock=lambda: 0)  # a call at once, then one each second

    def started(seconds: float) -> list[float]:
        waiter = Waiter()
        client.within(waiter.patience(Limits(deadline=seconds))).start_callbacks(ACCOUNT)
        return waiter.pauses

    assert started(120) == [1, 2]  # the login, then the call
    for _ in range(50):
        with pytest.raises(errors.TookTooLong, match=r"kept to 1 a second\. .* THINGSPACE_CALLS_PER_SECOND"):
            started(0.1)
    assert started(120) == [3]


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("17", 17, 17), ("", 0, 0), ("soon", 0, 0), ("-5", 0, 0), ("99999999999", 86400, 86400), ("date", 25, 31)],
)
def test_retry_after_is_read_in_both_forms(header: str, least: float, most: float) -> None:
    text = email.utils.formatdate(time.time() + 30, usegmt=True) if header == "date" else header
    assert least <= retry_after(Answer(429, {"retry-after": text}, b"")) <= most


def test_an_operations_calls_share_its_deadline(credentials: Credentials, emulator: EmulatorProcess) -> None:
    fault(emulator, "startCallbacks", hang="before", times=9)
    client = Client(credentials)
    client.login()
    begun = time.monotonic()
    said: list[str] = []
    with pytest.raises(errors.ThingSpaceError, match="starting SMS callbacks for account 0000123456-00001") as failed:
        client.within(Patience(Limits(deadline=5, answer=0.6), said.append)).start_callbacks(ACCOUNT)
    assert isinstance(failed.value, errors.Unreachable | errors.TookTooLong)
    assert time.monotonic() - begun < 30  # not a figure of speed: it ended by itself
    assert said


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
            with pytest.raises(Exception, match="no whole answer within"):
                RequestsTransport().send("GET", url, {}, None, 0.5)
        finally:
            ended.set()
            thread.join(10)


def test_an_address_where_nothing_listens_is_given_up_soon(credentials: Credentials) -> None:
    waiter = Waiter()
    nowhere = Client(replace(credentials, base_url=f"http://127.0.0.1:{closed_port()}/api"))
    with pytest.raises(errors.Unreachable, match=r"connection refused.*after 3 attempts") as unreachable:
        nowhere.within(waiter.patience()).start_callbacks(ACCOUNT)
    assert not unreachable.value.sent


def test_a_call_that_takes_long_says_what_it_waits_for(
    thingspace: Client, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thingspace_provider.api.deadline.SILENCE", 0.2)
    thingspace.start_callbacks(ACCOUNT)
    fault(emulator, "startCallbacks", hang="before", times=1)
    said: list[str] = []
    with pytest.raises(errors.Unreachable):
        thingspace.within(Patience(Limits(deadline=3), said.append)).start_callbacks(ACCOUNT)
    told = f"account {ACCOUNT}: starting SMS callbacks: still waiting for ThingSpace's answer"
    assert any(line.startswith(told) for line in said)


def test_who_waits_for_anothers_login_ends_at_a_deadline_of_its_own(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    fault(emulator, "login", hang="before", times=1)
    client = Client(credentials)

    def start(seconds: float) -> str:
        try:
            client.within(Patience(Limits(deadline=seconds))).start_callbacks(ACCOUNT)
        except errors.ThingSpaceError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(start, 8.0)
        while not emulator.calls()["token"]:
            time.sleep(0.02)
        second = pool.submit(start, 0.5)
        assert "waited for the login that another resource began" in second.result()
        assert not first.done()
    assert "logging in" in first.result()


def test_the_pace_gives_a_seconds_worth_at_once_and_then_one_by_one() -> None:
    now = 100.0
    pace = Pace(10, lambda: now)
    delays = [pace.delay() for _ in range(15)]
    assert delays[:10] == [pytest.approx(0)] * 10
    assert delays[10:] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [pace.delay(0.5), pace.delay(0.55)] == pytest.approx([0.6, 0.6])  # too late for either: it is left
    assert pace.held() == 0
    pace.hold(5)
    assert [pace.delay(), pace.held()] == pytest.approx([5.1, 5])


def test_a_logout_ends_the_session_once(thingspace: Client, emulator: EmulatorProcess) -> None:
    thingspace.logout()  # there is none yet
    thingspace.start_callbacks(ACCOUNT)
    thingspace.logout()
    thingspace.logout()
    assert emulator.calls()["logout"] == 1
    thingspace.start_callbacks(ACCOUNT)
    assert emulator.calls()["login"] == 2


def test_a_logout_that_fails_is_nobodys_concern(thingspace: Client, emulator: EmulatorProcess) -> None:
    thingspace.start_callbacks(ACCOUNT)
    fault(emulator, "logout", drop="before", times=1)
    thingspace.logout()
