"""Errors that end an update early, with one readable message. The next update recovers."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import CommandResult, Project

MAX_SECONDS = 90.0  # the engine itself needs up to seven seconds to exit after a failure


def up_fails(project: Project, *expected: str) -> CommandResult:
    """Expect `pulumi up` to fail with these messages and without a Python traceback."""
    began = time.monotonic()
    outcome = project.up(fails=True)
    assert time.monotonic() - began < MAX_SECONDS
    for part in expected:
        assert part in outcome.output
    assert "Traceback" not in outcome.output
    return outcome


def up_recovers(project: Project, emulator: EmulatorProcess) -> None:
    """Restore the environment: the next update does the rest, and the one after it changes nothing."""
    project.environment |= emulator.environment
    project.up()
    project.up("--expect-no-changes")


def test_a_wrong_password_costs_one_login_for_all_accounts(project: Project, emulator: EmulatorProcess) -> None:
    project.configure("thingspace:accounts", json.dumps(emulator.ready["accounts"]))
    project.environment["THINGSPACE_PASSWORD"] = "sentinel-wrong"
    lockout = "Five failed logins in a row lock the user, and only Verizon support can unlock it"
    outcome = up_fails(project, "logging in to ThingSpace as emulator-user failed: ", lockout)
    assert emulator.count_calls()["login"] == 1
    assert sum("logging in" in line for line in outcome.errors) == 1  # the others report a skipped login
    assert "sentinel" not in outcome.output
    up_recovers(project, emulator)


@pytest.mark.long
def test_a_locked_user_is_reported_with_the_hint_to_unlock_it(project: Project, emulator: EmulatorProcess) -> None:
    state = emulator.control("GET", "state")
    state["users"]["emulator-user"] |= {"failedLogins": 5, "locked": True}
    emulator.control("PUT", "state", state)
    up_fails(project, "logging in to ThingSpace", "only Verizon support can unlock")
    up_fails(project, "ThingSpace rejected this password in an earlier run", "THINGSPACE_LOGIN_OVERRIDE=1")
    assert emulator.count_calls()["login"] == 1
    emulator.control("POST", "users/unlock", {"username": "emulator-user"})
    project.environment["THINGSPACE_LOGIN_OVERRIDE"] = "1"
    up_recovers(project, emulator)


@pytest.mark.long
def test_an_unknown_account_is_named(project: Project, emulator: EmulatorProcess) -> None:
    project.configure("thingspace:accounts", '["0000000000-99999"]')
    [error] = up_fails(project).errors
    assert "failed for account 0000000000-99999" in error
    assert "with its leading zeros" in error
    project.configure("thingspace:accounts", json.dumps([ACCOUNT]))
    up_recovers(project, emulator)


@pytest.mark.long
def test_an_unreachable_thingspace_is_named(project: Project, emulator: EmulatorProcess) -> None:
    project.environment["THINGSPACE_BASE_URL"] = "http://127.0.0.1:9/api"
    [error] = up_fails(project).errors
    assert "no response from http://127.0.0.1:9/api (connection refused)" in error
    up_recovers(project, emulator)


@pytest.mark.long
def test_wrong_application_keys_are_distinguished_from_a_wrong_password(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.environment["THINGSPACE_APP_SECRET"] = "sentinel-wrong"
    [error] = up_fails(project).errors
    assert "THINGSPACE_APP_KEY and THINGSPACE_APP_SECRET" in error
    assert emulator.count_calls()["login"] == 0
    up_recovers(project, emulator)


def test_without_credentials_nothing_is_created(project: Project, emulator: EmulatorProcess) -> None:
    for name in emulator.environment:
        del project.environment[name]
    for key in ("appKey", "appSecret", "username", "password"):
        project.pulumi("config", "rm", f"thingspace:{key}")
    project.preview()  # needs none
    up_fails(project, "missing THINGSPACE_APP_KEY (or stack config thingspace:appKey)", "THINGSPACE_PASSWORD")
    assert project.resources("CallbackCredential") == []
    up_recovers(project, emulator)


@pytest.mark.long
def test_a_port_in_use_is_named_before_anything_is_registered(project: Project, emulator: EmulatorProcess) -> None:
    port, taken = occupy()
    with taken:
        project.configure("thingspace:listener", json.dumps({"kind": "local", "port": port}))
        [error] = up_fails(project).errors
    assert f"port {port} on 127.0.0.1 is already in use" in error
    assert emulator.count_calls()["registerCallback"] == 0
    up_recovers(project, emulator)


def occupy() -> tuple[int, socket.socket]:
    """Listen on a port that ThingSpace accepts."""
    for port in range(28220, 28210, -1):
        try:
            return port, socket.create_server(("127.0.0.1", port))
        except OSError:  # noqa: PERF203  the next one is tried
            continue
    pytest.fail("every port from 28211 to 28220 is in use on this machine")


def test_a_port_that_thingspace_rejects_stops_the_preview(project: Project, emulator: EmulatorProcess) -> None:
    project.configure("thingspace:listener", '{"kind": "external", "url": "https://sms.example.com:8443/x"}')
    previewed = project.preview(fails=True)
    assert "thingspace:listener.url in stacks/Pulumi.dev.yaml" in previewed.output
    assert "ThingSpace rejects port 8443 for callbacks" in previewed.output
    assert "Traceback" not in previewed.output
    assert emulator.count_calls() == {}


def test_an_invalid_stack_file_is_named_without_a_traceback(project: Project) -> None:
    listener = "{kind: [external], url: https://sms.example.com/x}"
    project.write_stack(f'config:\n  thingspace:accounts: ["1"]\n  thingspace:listener: {listener}\n')
    previewed = project.preview(fails=True)
    assert "thingspace:listener.kind in stacks/Pulumi.dev.yaml is ['external']; it must be local, " in previewed.output
    assert "Traceback" not in previewed.output
    merged = "{thingspace:rotation: '2026-13-45', thingspace:listener: {kind: external, <<: *url, readiness: true}}"
    project.write_stack(
        f'config:\n  thingspace:accounts: ["1"]\n  x: &url {{url: "https://sms.example.com/x"}}\n  <<: {merged}\n'
    )
    project.preview()
    project.environment["THINGSPACE_BASE_URL"] = "https://[::1/api"
    up_fails(project, "the host is invalid: write an IPv6 address between [ and ]. Set THINGSPACE_BASE_URL")


def test_the_registration_itself_rejects_the_port(project: Project) -> None:
    (project.folder / "__main__.py").write_text(
        "from thingspace_provider.resources import CallbackRegistration\n"
        f"CallbackRegistration('one', account_name='{ACCOUNT}', url='https://sms.example.com:8443/x')\n"
    )
    assert "ThingSpace rejects port 8443 for callbacks" in project.preview(fails=True).output


@pytest.mark.long
def test_a_listener_that_fails_the_readiness_probe_is_not_registered(
    project: Project, emulator: EmulatorProcess
) -> None:
    (project.folder / "__main__.py").write_text(
        "from thingspace_provider.resources import CallbackRegistration\n"
        f"CallbackRegistration('one', account_name='{ACCOUNT}', url='http://127.0.0.1:9005/unused')\n"
    )
    project.environment["THINGSPACE_READINESS_TIMEOUT_SECONDS"] = "5"
    expected = ("waiting up to 5 s", "probing the listener", "connection refused", "readiness=False")
    with socket.socket() as held:  # bound and not listening: connections are refused, and no other program can listen
        held.bind(("127.0.0.1", 9005))
        outcome = up_fails(project, *expected)
    assert len(outcome.errors) == 1
    assert emulator.count_calls()["registerCallback"] == 0
