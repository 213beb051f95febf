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
from thingspace_provider.api import Client, Credentials, Limits, errors
from thingspace_provider.api.login_guard import LOCKS_AT, OVERRIDE, RefusedLogins

PROGRAM = """
import sys
from thingspace_provider.api import Client, Credentials
try:
    Client(Credentials(*sys.argv[1:])).start_callbacks('0000123456-00001')
    print('done')
except Exception as error:
    print(type(error).__name__)
"""


def m2m(code: str) -> dict[str, str]:
    return {"errorCode": f"UnifiedWebService.REQUEST_FAILED.{code}", "errorMessage": "in words"}


def fault(code: str) -> dict[str, Any]:
    return {"fault": {"code": code, "message": "in words"}}


def started(client: Client) -> str:
    """What became of one call: the error's name and text."""
    try:
        client.within(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    except errors.ThingSpaceError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def log_in_concurrently(credentials: Credentials, count: int = 8) -> list[str]:
    """What became of calls by so many threads of one run."""
    client, at_once = Client(credentials), threading.Barrier(count)

    def start() -> str:
        at_once.wait()
        return started(client)

    with ThreadPoolExecutor(count) as pool:
        done = [pool.submit(start) for _ in range(count)]
        return sorted(future.result() for future in done)


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
    assert [result.partition(":")[0] for result in results] == ["LoginHeld"] * 7 + ["LoginRefused"]
    assert f"ThingSpace answered {status}" in results[-1]
    assert "exactly this password was refused before" in started(Client(credentials))
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
    assert [result.partition(":")[0] for result in results] == ["AnswerNotUnderstood"] + ["LoginHeld"] * 7
    assert "may have counted as a wrong login" in results[0]
    assert all("what is no session" in text for text in results[1:])
    assert emulator.count_calls()["login"] == 1
    assert started(Client(credentials)) == "done"  # as the next run does


@pytest.mark.parametrize("body", [fault("900906"), "<am:fault><am:code>404</am:code></am:fault>"])
def test_what_the_gateway_stopped_is_no_wrong_login(
    credentials: Credentials, emulator: EmulatorProcess, body: object
) -> None:
    emulator.add_fault("login", 404, body, times=1)
    assert started(client := Client(credentials)).startswith("RouteRefused")
    assert started(client) == "done"


def test_an_endless_response_counts_as_a_login_with_an_unknown_outcome(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thingspace_provider.api.transport.LARGEST_BODY", 2000)
    emulator.add_fault("login", 200, "x" * 3000, times=99)
    results = log_in_concurrently(credentials)
    assert [result.partition(":")[0] for result in results] == ["LoginHeld"] * 6 + ["Unreachable"] * 2
    assert emulator.count_calls()["login"] == 2


def test_each_value_of_the_override_allows_one_login_however_many_processes_have_it(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(credentials, password="sentinel-wrong")
    assert started(Client(wrong)).startswith("LoginRefused")
    monkeypatch.setenv(OVERRIDE, "1")
    ended = sorted(running.communicate(timeout=60)[0].strip() for running in [process(wrong) for _ in range(4)])
    assert ended == ["LoginHeld"] * 3 + ["LoginRefused"]
    assert f"{OVERRIDE}=2 (its present value was used for one already)" in started(Client(wrong))
    assert emulator.count_calls()["login"] == 2
    monkeypatch.setenv(OVERRIDE, "2")
    assert started(Client(wrong)).startswith("LoginRefused")
    for override in ("1", "2"):
        monkeypatch.setenv(OVERRIDE, override)
        assert f"{OVERRIDE}=3" in started(Client(wrong))
    assert emulator.count_calls()["login"] == 3 < LOCKS_AT
    record = RefusedLogins().file(wrong)
    assert len(json.loads(record.read_text())["spent"]) == 2
    assert started(Client(credentials)) == "done"
    assert not record.exists()  # and with it what was spent
    assert started(Client(wrong)).startswith("LoginRefused")
    monkeypatch.setenv(OVERRIDE, "1")
    assert started(Client(wrong)).startswith("LoginRefused")


def test_an_overridden_login_with_an_unknown_outcome_is_not_repeated(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    login_guard = RefusedLogins()
    login_guard.add(credentials)
    monkeypatch.setenv(OVERRIDE, "1")
    emulator.control("POST", "faults", {"operation": "login", "drop": "after", "times": 9})
    client = Client(credentials)
    assert started(client).startswith("Unreachable")
    assert "1 login got no clear answer" in started(client)
    assert emulator.count_calls()["login"] == 1


def test_an_override_is_not_used_by_a_login_that_thingspace_did_not_evaluate(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    RefusedLogins().add(credentials)
    monkeypatch.setenv(OVERRIDE, "1")
    emulator.add_fault("login", 503, "", times=6)
    client = Client(credentials)
    assert started(client).startswith("ServerFault")
    assert started(client) == "done"


def test_an_override_that_cannot_be_recorded_permits_no_login(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder where the record is written first, because root, who may run the tests, can write everywhere."""
    login_guard = RefusedLogins()
    login_guard.add(credentials)
    monkeypatch.setenv(OVERRIDE, "1")
    login_guard.file(credentials).with_suffix(f".{os.getpid()}").mkdir()
    assert started(Client(credentials)).startswith("LoginHeld")
    assert emulator.count_calls()["login"] == 0


def test_who_waits_for_another_process_sends_no_login_of_its_own(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    with RefusedLogins().alone(credentials, 0) as is_alone:
        assert is_alone
        with pytest.raises(errors.TookTooLong, match="waited for the login that another process began"):
            Client(credentials, limits=Limits(deadline=3)).start_callbacks(ACCOUNT)
    assert emulator.count_calls()["login"] == 0


def test_a_login_that_succeeds_does_not_let_two_others_in_at_once(credentials: Credentials) -> None:
    """Who waits for the lock holds the file that it waits on; a new one in its place would be a second lock."""
    login_guard = RefusedLogins()
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with RefusedLogins().alone(credentials, 20) as is_alone:
            assert is_alone
            entered.set()
            assert leave.wait(20)

    with ThreadPoolExecutor(1) as pool:
        with login_guard.alone(credentials, 0):
            waiting = pool.submit(wait)
            assert not entered.wait(0.2)  # by now it waits
            login_guard.forget(credentials)
        assert entered.wait(20)
        with login_guard.alone(credentials, 0.1) as is_alone:
            assert not is_alone
        leave.set()
        waiting.result()
