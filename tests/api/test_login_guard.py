"""However a login is answered, and whoever asks for one, no user comes near the five wrong ones that lock it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.fake_deadline import FakeTime
from thingspace_provider.api import Credentials, Limits, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import LOCKOUT_THRESHOLD, OVERRIDE_VARIABLE, LoginGuard
from thingspace_provider.api.transport import RequestsTransport, Transport

PROGRAM = """
import sys
from thingspace_provider.api import Credentials, ThingSpaceClient
try:
    ThingSpaceClient(Credentials(*sys.argv[1:])).start_callbacks('0000123456-00001')
    print('done')
except Exception as error:
    print(type(error).__name__)
"""


def m2m(code: str) -> dict[str, str]:
    return {"errorCode": f"UnifiedWebService.REQUEST_FAILED.{code}", "errorMessage": "in words"}


def fault(code: str) -> dict[str, Any]:
    return {"fault": {"code": code, "message": "in words"}}


def started(client: ThingSpaceClient) -> str:
    """What became of one call: the error's name and text."""
    try:
        client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    except errors.ThingSpaceError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def log_in_concurrently(credentials: Credentials, count: int = 8, transport: Transport | None = None) -> list[str]:
    """What became of calls by so many threads of one run."""
    client, at_once = ThingSpaceClient(credentials, transport), threading.Barrier(count, timeout=60)

    def start() -> str:
        at_once.wait()
        return started(client)

    with ThreadPoolExecutor(count) as pool:
        done = [pool.submit(start) for _ in range(count)]
        return sorted(future.result(60) for future in done)


def process(credentials: Credentials) -> subprocess.Popen[str]:
    user = credentials
    arguments = [user.app_key, user.app_secret, user.username, user.password, user.base_url]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, m2m("Login")),
        (404, m2m("UserNotFound")),
        (404, ""),
        (302, ""),
        (409, m2m("Conflict")),
        (422, {}),
        (423, m2m("Locked")),
        (401, fault("900900")),
        (403, fault("900908")),
        (400, "<html><code>not a number</code></html>"),
    ],
)
def test_what_may_have_been_a_wrong_login_is_neither_repeated_now_nor_in_the_next_run(
    credentials: Credentials, emulator: EmulatorProcess, status: int, body: object
) -> None:
    emulator.add_fault("login", status, body, times=99)
    results = log_in_concurrently(credentials)
    assert [result.partition(":")[0] for result in results] == ["LoginBlocked"] * 7 + ["LoginRejected"]
    assert f"ThingSpace responded with {status}" in results[-1]
    assert "login blocked: ThingSpace rejected this password in an earlier run" in started(
        ThingSpaceClient(credentials)
    )
    assert emulator.count_calls()["login"] == 1


@pytest.mark.parametrize(
    "body",
    [
        *("<html>Welcome to the hotel</html>", {}, "", "[]"),
        *({"sessionToken": token} for token in (None, 7, "", "a\r\nb", "a b", "\N{EURO SIGN}")),
    ],
)
def test_a_success_without_a_session_ends_the_run_and_records_nothing(
    credentials: Credentials, emulator: EmulatorProcess, body: object
) -> None:
    emulator.add_fault("login", 200, body, times=1)
    results = log_in_concurrently(credentials)
    assert [result.partition(":")[0] for result in results] == ["LoginBlocked"] * 7 + ["UnexpectedResponse"]
    assert "may have counted as a failed login" in results[-1]
    assert all("returned no session" in text for text in results[:-1])
    assert emulator.count_calls()["login"] == 1
    assert started(ThingSpaceClient(credentials)) == "done"  # as the next run does


@pytest.mark.parametrize("body", [fault("900906"), "<am:fault><am:code>404</am:code></am:fault>"])
def test_what_the_gateway_stopped_is_no_wrong_login(
    credentials: Credentials, emulator: EmulatorProcess, body: object
) -> None:
    emulator.add_fault("login", 404, body, times=1)
    assert started(client := ThingSpaceClient(credentials)).startswith("RouteNotFound")
    assert started(client) == "done"


def test_an_endless_response_counts_as_a_login_with_an_unknown_outcome(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    emulator.add_fault("login", 200, "x" * 3000, times=99)
    results = log_in_concurrently(credentials, transport=RequestsTransport(max_body_bytes=2000))
    assert [result.partition(":")[0] for result in results] == ["LoginBlocked"] * 6 + ["NoResponse"] * 2
    assert emulator.count_calls()["login"] == 2


def test_each_value_of_the_override_allows_one_login_however_many_processes_have_it(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(credentials, password="sentinel-wrong")
    assert started(ThingSpaceClient(wrong)).startswith("LoginRejected")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    ended = sorted(running.communicate(timeout=60)[0].strip() for running in [process(wrong) for _ in range(4)])
    assert ended == ["LoginBlocked"] * 3 + ["LoginRejected"]
    assert f"{OVERRIDE_VARIABLE}=2 (its current value is used)" in started(ThingSpaceClient(wrong))
    assert emulator.count_calls()["login"] == 2
    monkeypatch.setenv(OVERRIDE_VARIABLE, "2")
    assert started(ThingSpaceClient(wrong)).startswith("LoginRejected")
    for override in ("1", "2"):
        monkeypatch.setenv(OVERRIDE_VARIABLE, override)
        assert f"{OVERRIDE_VARIABLE}=3" in started(ThingSpaceClient(wrong))
    assert emulator.count_calls()["login"] == 3 < LOCKOUT_THRESHOLD
    record = LoginGuard().file(wrong)
    assert len(json.loads(record.read_text())["used_overrides"]) == 2
    assert started(ThingSpaceClient(credentials)) == "done"
    assert not record.exists()  # and with it what was spent
    assert started(ThingSpaceClient(wrong)).startswith("LoginRejected")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    assert started(ThingSpaceClient(wrong)).startswith("LoginRejected")


def test_an_overridden_login_with_an_unknown_outcome_is_not_repeated(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    login_guard = LoginGuard()
    login_guard.record_failure(credentials)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    emulator.control("POST", "faults", {"operation": "login", "drop": "after", "times": 9})
    client = ThingSpaceClient(credentials)
    assert started(client).startswith("NoResponse")
    assert "1 login of this run had an unknown outcome" in started(client)
    assert emulator.count_calls()["login"] == 1


def test_an_override_is_not_used_by_a_login_that_thingspace_did_not_evaluate(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    LoginGuard().record_failure(credentials)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    emulator.add_fault("login", 503, "", times=6)
    client = ThingSpaceClient(credentials)
    assert started(client).startswith("ServerError")
    assert started(client) == "done"


def test_an_override_that_cannot_be_recorded_permits_no_login(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder where the record is written first, because root, who may run the tests, can write everywhere."""
    login_guard = LoginGuard()
    login_guard.record_failure(credentials)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    login_guard.file(credentials).with_suffix(f".{os.getpid()}").mkdir()
    assert started(ThingSpaceClient(credentials)).startswith("LoginBlocked")
    assert emulator.count_calls()["login"] == 0


def test_who_waits_for_another_process_sends_no_login_of_its_own(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    with LoginGuard().lock(credentials, 0) as is_alone:
        assert is_alone
        with pytest.raises(errors.DeadlineExceeded, match="waited for the login of another process"):
            ThingSpaceClient(credentials, limits=Limits(resource_timeout_seconds=3)).start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 0


def test_a_login_that_succeeds_does_not_let_two_others_in_at_once(credentials: Credentials) -> None:
    """Who waits for the lock holds the file that it waits on; a new one in its place would be a second lock."""
    login_guard = LoginGuard()
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with LoginGuard().lock(credentials, 20) as is_alone:
            assert is_alone
            entered.set()
            assert leave.wait(20)

    with ThreadPoolExecutor(1) as pool:
        with login_guard.lock(credentials, 0):
            waiting = pool.submit(wait)
            assert not entered.wait(0.2)  # by now it waits
            login_guard.clear(credentials)
        assert entered.wait(20)
        with login_guard.lock(credentials, 0.1) as is_alone:
            assert not is_alone
        leave.set()
        waiting.result(60)
