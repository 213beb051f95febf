"""Drift at ThingSpace or on this machine: a refresh detects it, and the next update repairs it."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from tests.support.secret_scanner import SecretScanner
from tests.support.waiting import wait_until
from thingspace_provider.api import Registration, ThingSpaceClient

FOREIGN = Registration(SERVICE, "https://other.example.com/hook", "other-user", "sentinel-foreign-password")


def find_own_registration(thingspace: ThingSpaceClient) -> Registration:
    [registration] = thingspace.list_callbacks(ACCOUNT)
    return registration


def test_a_registration_with_a_changed_url_is_reported_as_drift_and_repaired(
    deployed: Project, thingspace: ThingSpaceClient
) -> None:
    before = find_own_registration(thingspace)
    thingspace.register_callback(ACCOUNT, FOREIGN)
    refreshed = deployed.refresh()
    assert "was changed outside of Pulumi: url, username, password" in refreshed.output
    assert "https://other.example.com/***" in refreshed.output
    assert "sentinel" not in refreshed.output
    assert "sentinel" not in deployed.export()
    previewed = deployed.preview("--diff")
    assert "to update" in previewed.changes
    for key in ("url", "username", "password"):
        assert re.search(rf'- +\[\d\]: "{key}"', previewed.output)
    assert "sentinel" not in previewed.output
    deployed.up()
    assert find_own_registration(thingspace) == before
    deployed.refresh("--expect-no-changes")


@pytest.mark.parametrize("field", [pytest.param("username", marks=pytest.mark.long), "password"])
def test_a_changed_credential_is_reported_by_name_only_and_repaired(
    deployed: Project, thingspace: ThingSpaceClient, field: str
) -> None:
    before = find_own_registration(thingspace)
    changed = {"username": before.username, "password": before.password, field: "sentinel-changed"}
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, before.url, **changed))
    refreshed = deployed.refresh()
    assert f"was changed outside of Pulumi: {field}." in refreshed.output
    assert before.password not in refreshed.output
    if field == "password":
        assert "sentinel" not in refreshed.output
    deployed.up()
    assert find_own_registration(thingspace) == before


PLAIN_TEXT_PROGRAM = f"""
from thingspace_provider.resources import CallbackRegistration

CallbackRegistration("one", account_name="{ACCOUNT}", url="https://sms.example.com/a", readiness=False%s)
"""


@pytest.mark.long
def test_a_foreign_registration_is_a_secret_even_if_the_program_has_none(
    project: Project, thingspace: ThingSpaceClient, tmp_path: Path
) -> None:
    sentinels = SecretScanner(password="sentinel-foreign-pw/9", token="sentinel-token/7")
    program = project.folder / "__main__.py"
    program.write_text(PLAIN_TEXT_PROGRAM % "")
    project.up()
    url = "https://other.example.com/hook?token=sentinel-token/7"
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, url, "other-user", "sentinel-foreign-pw/9"))

    def leaks() -> list[str]:
        output = "".join([*project.printed, project.export()])
        return [*sentinels.find_in(output.encode()), *sentinels.find_in_files(tmp_path, {})]

    assert "was changed outside of Pulumi: url, username, password" in project.refresh("--diff").output
    assert leaks() == []
    project.refresh("--diff")  # finds no new drift
    project.preview("--diff", "--save-plan", "plan.json")
    assert leaks() == []
    program.write_text(PLAIN_TEXT_PROGRAM % ', password="sentinel-own"')
    project.up("--diff")
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, "https://sms.example.com/a"))
    project.refresh("--diff")
    thingspace.register_callback(
        ACCOUNT, Registration(SERVICE, "https://sms.example.com/a", "", "sentinel-foreign-pw/9")
    )
    project.refresh("--diff")
    project.preview("--diff")
    project.up("--refresh", "--diff")
    assert leaks() == []
    assert find_own_registration(thingspace).password == "sentinel-own"
    project.up("--refresh", "--expect-no-changes")


def test_a_registration_that_was_removed_is_created_again_and_the_queue_drained(
    deployed: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    before = find_own_registration(thingspace)
    thingspace.deregister_callback(ACCOUNT, SERVICE)
    emulator.send_message("sent while nothing was registered")
    assert "registration not found. The next `pulumi up` registers the listener again" in deployed.refresh().output
    deployed.up()
    assert find_own_registration(thingspace) == before
    wait_until(
        lambda: "sent while nothing was registered" in deployed.fetch_stored_messages(),
        60,
        "the listener stores 'sent while nothing was registered'",
    )


def test_a_registration_conflict_is_rejected_until_it_is_adopted(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    thingspace.register_callback(ACCOUNT, FOREIGN)
    rejected = project.up(fails=True)
    [error] = rejected.errors
    assert "already go to https://other.example.com/***, " in error
    assert ", not to http://127.0.0.1:" in error
    assert "adopt=True" in error
    assert find_own_registration(thingspace) == FOREIGN
    assert emulator.count_calls()["startCallbacks"] == 0
    project.configure("thingspace:adopt", "true")
    assert "adopted: its URL was https://other.example.com/***, and is now http://127.0.0.1:" in project.up().output
    assert find_own_registration(thingspace) != FOREIGN


def test_destroy_leaves_a_registration_of_another_program(deployed: Project, thingspace: ThingSpaceClient) -> None:
    thingspace.register_callback(ACCOUNT, FOREIGN)
    deployed.refresh()  # even if the state has recorded it
    destroyed = deployed.destroy()
    assert "which another program registered" in destroyed.output
    assert find_own_registration(thingspace) == FOREIGN


def test_a_registration_is_renewed_when_thingspace_rejects_replacement_and_queued_messages_are_fetched(
    deployed: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    emulator.control("PUT", "switches", {"reregistration": "rejected"})
    before = find_own_registration(thingspace)
    deployed.configure("thingspace:rotation", "2")
    emulator.hold("registerCallback", skip=1)
    renewed = deployed.start("up", "--yes", "--skip-preview")
    wait_until(emulator.is_holding, 60, "the emulator holds the call")
    assert thingspace.list_callbacks(ACCOUNT) == []  # rejected, deregistered, and not registered again yet
    emulator.send_message("sent in between")
    assert emulator.count_queued() == 1
    emulator.release()
    assert renewed.end().status == 0, renewed.output
    assert find_own_registration(thingspace).password != before.password
    wait_until(
        lambda: deployed.fetch_stored_messages() == ["sent in between"], 60, "the listener stores 'sent in between'"
    )
    calls = emulator.count_calls()
    assert (calls["registerCallback"], calls["deregisterCallback"]) == (3, 1)


@pytest.mark.long
def test_a_listener_that_exited_is_reported_and_restarted_on_the_same_store(
    deployed: Project, emulator: EmulatorProcess
) -> None:
    emulator.send_message("before")
    wait_until(lambda: deployed.fetch_stored_messages() == ["before"], 60, "the listener stores 'before'")
    pid = deployed.listener_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: deployed.listener_pid() is None, 60, "the listener process ends")
    emulator.send_message("while it was down")
    wait_until(lambda: emulator.count_queued() == 1, 60, "one message is queued")
    assert "not running. The next `pulumi up` starts it" in deployed.refresh().output
    deployed.up()
    assert deployed.listener_pid() not in {None, pid}
    wait_until(
        lambda: sorted(deployed.fetch_stored_messages()) == ["before", "while it was down"],
        60,
        "the listener stores both messages",
    )
    deployed.up("--expect-no-changes")
