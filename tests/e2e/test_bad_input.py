"""What ends an update early: in seconds, with one readable message, and healed by the next update."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import Outcome, Project

DEADLINE = 90.0  # seconds; the engine itself needs up to seven of them to end after a failure


def fails(project: Project, *said: str) -> Outcome:
    """Bring the stack up and expect it to end with messages that say this, and with no Python traceback."""
    began = time.monotonic()
    outcome = project.up(fails=True)
    assert time.monotonic() - began < DEADLINE
    for part in said:
        assert part in outcome.text
    assert "Traceback" not in outcome.text
    return outcome


def heals(project: Project, emulator: EmulatorProcess) -> None:
    """With what was wrong put right, the next update does what is missing, and the one after it nothing."""
    project.environment |= emulator.environment
    project.up()
    project.up("--expect-no-changes")


def test_a_wrong_password_costs_one_login_however_many_accounts_there_are(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.configure("thingspace:accounts", json.dumps(emulator.ready["accounts"]))
    project.environment["THINGSPACE_PASSWORD"] = "sentinel-wrong"
    outcome = fails(project, "logging in to ThingSpace as emulator-user", "five wrong logins", "only Verizon support")
    assert emulator.calls()["login"] == 1
    assert sum("logging in" in line for line in outcome.errors) == 1  # the others say that they were not tried
    assert "sentinel" not in outcome.text
    heals(project, emulator)


def test_a_locked_user_is_told_who_can_unlock_it(project: Project, emulator: EmulatorProcess) -> None:
    state = emulator.control("GET", "state")
    state["users"]["emulator-user"] |= {"strikes": 5, "locked": True}
    emulator.control("PUT", "state", state)
    fails(project, "logging in to ThingSpace", "only Verizon support can unlock")
    fails(project, "exactly this password was refused before", "THINGSPACE_RETRY_REFUSED_LOGIN=1")
    assert emulator.calls()["login"] == 1
    emulator.control("POST", "users/unlock", {"username": "emulator-user"})
    project.environment["THINGSPACE_RETRY_REFUSED_LOGIN"] = "1"
    heals(project, emulator)


def test_an_unknown_account_is_named(project: Project, emulator: EmulatorProcess) -> None:
    project.configure("thingspace:accounts", '["0000000000-99999"]')
    [error] = fails(project).errors
    assert "for account 0000000000-99999" in error
    assert "leading zeros included" in error
    project.configure("thingspace:accounts", json.dumps([ACCOUNT]))
    heals(project, emulator)


def test_an_unreachable_thingspace_is_named(project: Project, emulator: EmulatorProcess) -> None:
    project.environment["THINGSPACE_BASE_URL"] = "http://127.0.0.1:9/api"
    [error] = fails(project).errors
    assert "no answer from http://127.0.0.1:9/api (connection refused)" in error
    heals(project, emulator)


def test_wrong_application_keys_are_told_from_a_wrong_password(project: Project, emulator: EmulatorProcess) -> None:
    project.environment["THINGSPACE_APP_SECRET"] = "sentinel-wrong"
    [error] = fails(project).errors
    assert "THINGSPACE_APP_KEY and THINGSPACE_APP_SECRET" in error
    assert emulator.calls()["login"] == 0
    heals(project, emulator)


def test_without_credentials_nothing_is_created(project: Project, emulator: EmulatorProcess) -> None:
    for name in emulator.environment:
        del project.environment[name]
    for key in ("appKey", "appSecret", "username", "password"):
        project.pulumi("config", "rm", f"thingspace:{key}")
    project.preview()  # needs none
    fails(project, "missing THINGSPACE_APP_KEY (or stack config thingspace:appKey)", "THINGSPACE_PASSWORD")
    assert project.resources("CallbackCredential") == []
    heals(project, emulator)


def test_a_port_in_use_is_named_before_anything_is_registered(project: Project, emulator: EmulatorProcess) -> None:
    port, taken = occupy()
    with taken:
        project.configure("thingspace:listener", json.dumps({"kind": "local", "port": port}))
        [error] = fails(project).errors
    assert f"port {port} on 127.0.0.1 is already in use" in error
    assert emulator.calls()["registerCallback"] == 0
    heals(project, emulator)


def occupy() -> tuple[int, socket.socket]:
    """Listen on some port that ThingSpace accepts."""
    for port in range(28220, 28210, -1):
        try:
            return port, socket.create_server(("127.0.0.1", port))
        except OSError:  # noqa: PERF203  the next one is tried
            continue
    pytest.fail("every port from 28211 to 28220 is taken on this machine")


def test_a_port_that_thingspace_refuses_stops_the_preview(project: Project, emulator: EmulatorProcess) -> None:
    project.configure("thingspace:listener", '{"kind": "external", "url": "https://sms.example.com:8443/x"}')
    previewed = project.preview(fails=True)
    assert "thingspace:listener.url in stacks/Pulumi.dev.yaml" in previewed.text
    assert "port 8443 is refused by ThingSpace" in previewed.text
    assert "Traceback" not in previewed.text
    assert emulator.calls() == {}


def test_an_odd_stack_file_is_named_and_not_a_traceback(project: Project) -> None:
    listener = "{kind: [external], url: https://sms.example.com/x}"
    project.write_stack(f'config:\n  thingspace:accounts: ["1"]\n  thingspace:listener: {listener}\n')
    previewed = project.preview(fails=True)
    assert "thingspace:listener.kind in stacks/Pulumi.dev.yaml is ['external']; it is local or" in previewed.text
    assert "Traceback" not in previewed.text
    merged = "{thingspace:rotation: '2026-13-45', thingspace:listener: {kind: external, <<: *url, readiness: true}}"
    project.write_stack(
        f'config:\n  thingspace:accounts: ["1"]\n  x: &url {{url: "https://sms.example.com/x"}}\n  <<: {merged}\n'
    )
    project.preview()
    project.environment["THINGSPACE_BASE_URL"] = "https://[::1/api"
    fails(project, "the base URL 'https://[::1/api' is not an http(s) address. Set THINGSPACE_BASE_URL")


def test_the_registration_itself_refuses_the_port_too(project: Project) -> None:
    (project.folder / "__main__.py").write_text(
        "from thingspace_provider.resources import CallbackRegistration\n"
        f"CallbackRegistration('one', account_name='{ACCOUNT}', url='https://sms.example.com:8443/x')\n"
    )
    assert "port 8443 is refused by ThingSpace" in project.preview(fails=True).text


def test_a_listener_that_does_not_prove_itself_is_not_registered(project: Project, emulator: EmulatorProcess) -> None:
    (project.folder / "__main__.py").write_text(
        "from thingspace_provider.resources import CallbackRegistration\n"
        f"CallbackRegistration('one', account_name='{ACCOUNT}', url='http://127.0.0.1:9005/nobody')\n"
    )
    project.environment["THINGSPACE_READINESS_SECONDS"] = "5"
    said = ("waiting up to 5 s", "proving the listener reachable", "connection refused", "readiness=False")
    with socket.socket() as held:  # bound and not listening: it refuses, and nobody else can listen there
        held.bind(("127.0.0.1", 9005))
        outcome = fails(project, *said)
    assert len(outcome.errors) == 1
    assert emulator.calls()["registerCallback"] == 0
