"""Login guard: no response to a login, and no number of processes, brings a user near the lockout."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT
from tests.support.fake_transport import FakeTransport
from tests.support.logins import call_result, log_in_concurrently
from thingspace_provider.api import Credentials, Limits, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import OVERRIDE_VARIABLE, LoginGuard


def m2m(code: str) -> dict[str, str]:
    return {"errorCode": f"UnifiedWebService.REQUEST_FAILED.{code}", "errorMessage": "in words"}


def fault(code: str) -> dict[str, Any]:
    return {"fault": {"code": code, "message": "in words"}}


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
def test_a_login_that_may_have_failed_is_not_repeated_in_this_or_the_next_run(
    user: Credentials, transport: FakeTransport, status: int, body: object
) -> None:
    transport.add_fault("login", status, body, times=99)
    results = log_in_concurrently(ThingSpaceClient(user, transport))
    assert [result.partition(":")[0] for result in results] == ["LoginBlocked"] * 7 + ["LoginRejected"]
    assert f"ThingSpace responded with {status}" in results[-1]
    assert "login blocked: ThingSpace rejected this password in an earlier run" in call_result(
        ThingSpaceClient(user, transport)
    )
    assert transport.count_calls()["login"] == 1


@pytest.mark.parametrize(
    "body",
    [
        *("<html>Welcome to the hotel</html>", {}, "", "[]"),
        *({"sessionToken": token} for token in (None, 7, "", "a\r\nb", "a b", "\N{EURO SIGN}")),
    ],
)
def test_a_success_without_a_session_ends_the_run_and_records_nothing(
    user: Credentials, transport: FakeTransport, body: object
) -> None:
    transport.add_fault("login", 200, body, times=1)
    results = log_in_concurrently(ThingSpaceClient(user, transport))
    assert [result.partition(":")[0] for result in results] == ["LoginBlocked"] * 7 + ["UnexpectedResponse"]
    assert "may have counted as a failed login" in results[-1]
    assert all("returned no session" in text for text in results[:-1])
    assert transport.count_calls()["login"] == 1
    assert call_result(ThingSpaceClient(user, transport)) == "done"  # as the next run does


@pytest.mark.parametrize("body", [fault("900906"), "<am:fault><am:code>404</am:code></am:fault>"])
def test_a_login_stopped_by_the_gateway_is_not_a_failed_login(
    user: Credentials, transport: FakeTransport, body: object
) -> None:
    transport.add_fault("login", 404, body, times=1)
    assert call_result(client := ThingSpaceClient(user, transport)).startswith("RouteNotFound")
    assert call_result(client) == "done"


def test_an_overridden_login_with_an_unknown_outcome_is_not_repeated(
    user: Credentials, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    login_guard = LoginGuard()
    login_guard.record_failure(user)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    transport.drop("login", "after", times=9)
    client = ThingSpaceClient(user, transport)
    assert call_result(client).startswith("NoResponse")
    assert "1 login of this run had an unknown outcome" in call_result(client)
    assert transport.count_calls()["login"] == 1


def test_an_override_is_not_used_by_a_login_that_thingspace_did_not_evaluate(
    user: Credentials, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    LoginGuard().record_failure(user)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    transport.add_fault("login", 503, "", times=6)
    client = ThingSpaceClient(user, transport)
    assert call_result(client).startswith("ServerError")
    assert call_result(client) == "done"


def test_an_override_that_cannot_be_recorded_permits_no_login(
    user: Credentials, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory blocks the scratch file, because root ignores permissions."""
    login_guard = LoginGuard()
    login_guard.record_failure(user)
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    login_guard.file(user).with_suffix(f".{os.getpid()}").mkdir()
    assert call_result(ThingSpaceClient(user, transport)).startswith("LoginBlocked")
    assert transport.count_calls()["login"] == 0


def test_no_login_is_sent_while_another_process_logs_in(user: Credentials, transport: FakeTransport) -> None:
    with LoginGuard().lock(user, 0) as is_alone:
        assert is_alone
        with pytest.raises(errors.DeadlineExceeded, match="waited for the login of another process"):
            ThingSpaceClient(user, transport, limits=Limits(resource_timeout_seconds=0.3)).start_callbacks(ACCOUNT)
    assert transport.count_calls()["login"] == 0


def test_clear_does_not_break_the_exclusion_of_waiting_processes(user: Credentials) -> None:
    """A waiting process has the lock file open. A new file in its place would be a second lock."""
    login_guard = LoginGuard()
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with LoginGuard().lock(user, 20) as is_alone:
            assert is_alone
            entered.set()
            assert leave.wait(20)

    with ThreadPoolExecutor(1) as pool:
        with login_guard.lock(user, 0):
            waiting = pool.submit(wait)
            assert not entered.wait(0.2)  # by now it waits
            login_guard.clear(user)
        assert entered.wait(20)
        with login_guard.lock(user, 0.1) as is_alone:
            assert not is_alone
        leave.set()
        waiting.result(60)
