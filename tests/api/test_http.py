"""The client over HTTP: against the emulator as a process, and against bare sockets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from tests.support.callback_servers import reserve_closed_port
from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.fake_deadline import FakeTime
from tests.support.logins import call_result, log_in_concurrently
from tests.support.waiting import wait_until
from thingspace_provider.api import Credentials, Deadline, Limits, Registration, ThingSpaceClient, errors
from thingspace_provider.api.login_guard import LOCKOUT_THRESHOLD, OVERRIDE_VARIABLE, LoginGuard
from thingspace_provider.api.transport import RequestsTransport

PROGRAM = """
import sys
from thingspace_provider.api import Credentials, ThingSpaceClient
try:
    ThingSpaceClient(Credentials(*sys.argv[1:])).start_callbacks('0000123456-00001')
    print('done')
except Exception as error:
    print(type(error).__name__)
"""


@pytest.fixture
def with_short_timeout(thingspace: ThingSpaceClient) -> ThingSpaceClient:
    """A client whose backoffs take no time."""
    return thingspace.with_deadline(FakeTime().build_deadline())


def fault(emulator: EmulatorProcess, operation: str, **effect: Any) -> None:
    emulator.control("POST", "faults", {"operation": operation, **effect})


def test_parallel_processes_send_a_wrong_password_once(credentials: Credentials, emulator: EmulatorProcess) -> None:
    wrong = replace(credentials, password="sentinel-wrong")
    program = (
        "import sys\nfrom thingspace_provider.api import Credentials, ThingSpaceClient\n"
        "try:\n    ThingSpaceClient(Credentials(*sys.argv[1:])).start_callbacks('0000123456-00001')\n"
        "except Exception as error:\n    print(type(error).__name__)\n"
    )
    arguments = [wrong.app_key, wrong.app_secret, wrong.username, wrong.password, wrong.base_url]
    running = [
        subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ended = sorted(process.communicate(timeout=60)[0].strip() for process in running)
    assert ended == ["LoginBlocked"] * 3 + ["LoginRejected"]
    assert emulator.count_calls()["login"] == 1


def test_an_expired_session_is_replaced_by_one_login_and_the_call_repeated(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    thingspace.start_callbacks(ACCOUNT)
    emulator.control("POST", "clock", {"advanceSeconds": 21 * 60})
    thingspace.start_callbacks(ACCOUNT)
    calls = emulator.count_calls()
    assert (calls["token"], calls["login"], calls["startCallbacks"]) == (1, 2, 3)


@pytest.mark.parametrize("form", ["zeroLength", "array", "null"])
def test_an_empty_list_of_registrations_is_parsed_in_every_form(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, form: str
) -> None:
    emulator.control("PUT", "switches", {"emptyCallbackList": form})
    assert thingspace.list_callbacks(ACCOUNT) == []


@pytest.mark.parametrize("form", ["omitted", "emptyStrings"])
def test_a_registration_without_a_credential_is_parsed_in_both_forms(
    thingspace: ThingSpaceClient, emulator: EmulatorProcess, form: str
) -> None:
    emulator.control("PUT", "switches", {"unsetCredentials": form})
    wanted = Registration(SERVICE, "https://sms.example.com/x")
    thingspace.register_callback(ACCOUNT, wanted)
    assert thingspace.list_callbacks(ACCOUNT) == [wanted]
    thingspace.deregister_callback(ACCOUNT, SERVICE)
    assert thingspace.list_callbacks(ACCOUNT) == []


def test_a_lost_connection_is_reported_without_request_data(
    with_short_timeout: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    emulator.control("POST", "faults", {"operation": "startCallbacks", "drop": "after", "times": 9})
    with pytest.raises(errors.NoResponse, match="failed for account 0000123456-00001") as unreachable:
        with_short_timeout.start_callbacks(ACCOUNT)
    assert "Bearer" not in str(unreachable.value)


def test_a_call_without_a_response_ends_at_the_deadline(credentials: Credentials, emulator: EmulatorProcess) -> None:
    client = ThingSpaceClient(credentials)
    client.login()
    emulator.control("POST", "faults", {"operation": "startCallbacks", "hang": "before", "times": 1})
    with pytest.raises(errors.NoResponse, match=r"no (complete )?response within [12]\.\d s"):
        client.with_deadline(Deadline(Limits(resource_timeout_seconds=2))).start_callbacks(ACCOUNT)
    client.start_callbacks(ACCOUNT)


def test_a_netrc_login_does_not_replace_the_access_token(
    thingspace: ThingSpaceClient, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    thingspace.start_callbacks(ACCOUNT)


def test_a_proxy_is_not_used_for_loopback_addresses(
    thingspace: ThingSpaceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    thingspace.start_callbacks(ACCOUNT)


def test_a_request_never_changes_the_environment_that_other_threads_read(
    thingspace: ThingSpaceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[object] = []
    monkeypatch.setattr(os, "putenv", lambda *change: changes.append(change))
    monkeypatch.setattr(os, "unsetenv", changes.append)
    thingspace.start_callbacks(ACCOUNT)
    assert changes == []


def test_an_unreachable_base_url_is_shown_without_its_password(credentials: Credentials) -> None:
    nowhere = replace(credentials, base_url="http://me:sentinel@127.0.0.1:9/api")
    with pytest.raises(errors.NoResponse, match=r"no response from http://127\.0\.0\.1:9/api") as unreachable:
        ThingSpaceClient(nowhere).with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    assert "sentinel" not in str(unreachable.value)


def process(credentials: Credentials) -> subprocess.Popen[str]:
    user = credentials
    arguments = [user.app_key, user.app_secret, user.username, user.password, user.base_url]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)


def test_an_endless_response_counts_as_a_login_with_an_unknown_outcome(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
    emulator.add_fault("login", 200, "x" * 3000, times=99)
    results = log_in_concurrently(ThingSpaceClient(credentials, RequestsTransport(max_body_bytes=2000)))
    assert [result.partition(":")[0] for result in results] == ["LoginBlocked"] * 6 + ["NoResponse"] * 2
    assert emulator.count_calls()["login"] == 2


def test_each_value_of_the_override_allows_one_login_however_many_processes_have_it(
    credentials: Credentials, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(credentials, password="sentinel-wrong")
    assert call_result(ThingSpaceClient(wrong)).startswith("LoginRejected")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    ended = sorted(running.communicate(timeout=60)[0].strip() for running in [process(wrong) for _ in range(4)])
    assert ended == ["LoginBlocked"] * 3 + ["LoginRejected"]
    assert f"{OVERRIDE_VARIABLE}=2 (its current value is used)" in call_result(ThingSpaceClient(wrong))
    assert emulator.count_calls()["login"] == 2
    monkeypatch.setenv(OVERRIDE_VARIABLE, "2")
    assert call_result(ThingSpaceClient(wrong)).startswith("LoginRejected")
    for override in ("1", "2"):
        monkeypatch.setenv(OVERRIDE_VARIABLE, override)
        assert f"{OVERRIDE_VARIABLE}=3" in call_result(ThingSpaceClient(wrong))
    assert emulator.count_calls()["login"] == 3 < LOCKOUT_THRESHOLD
    record = LoginGuard().file(wrong)
    assert len(json.loads(record.read_text())["used_overrides"]) == 2
    assert call_result(ThingSpaceClient(credentials)) == "done"
    assert not record.exists()  # nor its used values
    assert call_result(ThingSpaceClient(wrong)).startswith("LoginRejected")
    monkeypatch.setenv(OVERRIDE_VARIABLE, "1")
    assert call_result(ThingSpaceClient(wrong)).startswith("LoginRejected")


def test_the_calls_of_a_resource_operation_share_its_deadline(
    credentials: Credentials, emulator: EmulatorProcess
) -> None:
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
    assert time.monotonic() - begun < 30  # generous: no benchmark
    assert logged


def test_a_response_that_arrives_byte_by_byte_times_out() -> None:
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


def test_a_refused_connection_fails_after_three_attempts(credentials: Credentials) -> None:
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


def test_a_wait_for_the_login_of_another_thread_ends_at_its_own_deadline(
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
