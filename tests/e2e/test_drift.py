"""What others change at ThingSpace or on this machine is seen by a refresh and repaired by the next update."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess, eventually
from tests.support.pulumi_project import Project
from tests.support.secret_scanner import Secrets
from thingspace_provider.api import Client, Registration

FOREIGN = Registration(SERVICE, "https://other.example.com/hook", "somebody", "sentinel-foreign-password")


def ours(thingspace: Client) -> Registration:
    [registration] = thingspace.list_callbacks(ACCOUNT)
    return registration


def test_a_registration_that_was_pointed_elsewhere_is_shown_and_repaired(deployed: Project, thingspace: Client) -> None:
    before = ours(thingspace)
    thingspace.register_callback(ACCOUNT, FOREIGN)
    shown = deployed.refresh()
    assert "was changed outside of Pulumi: url, username, password" in shown.text
    assert "https://other.example.com/hook" in shown.text
    assert "sentinel" not in shown.text
    assert "sentinel" not in deployed.export()
    assert "to update" in deployed.preview().changes
    deployed.up()
    assert ours(thingspace) == before
    deployed.refresh("--expect-no-changes")


@pytest.mark.parametrize("field", ["username", "password"])
def test_a_changed_credential_is_shown_by_name_only_and_repaired(
    deployed: Project, thingspace: Client, field: str
) -> None:
    before = ours(thingspace)
    changed = {"username": before.username, "password": before.password, field: "sentinel-changed"}
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, before.url, **changed))
    shown = deployed.refresh()
    assert f"was changed outside of Pulumi: {field}." in shown.text
    assert before.password not in shown.text
    if field == "password":
        assert "sentinel" not in shown.text
    deployed.up()
    assert ours(thingspace) == before


IN_CLEAR = f"""
from thingspace_provider.resources import CallbackRegistration

CallbackRegistration("one", account_name="{ACCOUNT}", url="https://sms.example.com/a", readiness=False%s)
"""


def test_what_somebody_else_registered_is_a_secret_even_where_the_program_has_none(
    project: Project, thingspace: Client, tmp_path: Path
) -> None:
    sentinels = Secrets(password="sentinel-foreign-pw/9", token="sentinel-token/7")
    program = project.folder / "__main__.py"
    program.write_text(IN_CLEAR % "")
    project.up()
    url = "https://other.example.com/hook?token=sentinel-token/7"
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, url, "somebody", "sentinel-foreign-pw/9"))

    def leaks() -> list[str]:
        shown = "".join([*project.printed, project.export()])
        return [*sentinels.within(shown.encode()), *sentinels.in_files(tmp_path, {})]

    assert "was changed outside of Pulumi: url, username, password" in project.refresh("--diff").text
    assert leaks() == []
    project.refresh("--diff")  # which sees no more drift
    project.preview("--diff", "--save-plan", "plan.json")
    assert leaks() == []
    program.write_text(IN_CLEAR % ', password="sentinel-of-ours"')  # its own, removed outside and set again
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
    assert ours(thingspace).password == "sentinel-of-ours"
    project.up("--refresh", "--expect-no-changes")


def test_a_registration_that_was_removed_is_created_again_and_the_queue_drained(
    deployed: Project, emulator: EmulatorProcess, thingspace: Client
) -> None:
    before = ours(thingspace)
    thingspace.deregister_callback(ACCOUNT, SERVICE)
    emulator.text("sent while nobody listened")
    assert "no longer registered" in deployed.refresh().text
    deployed.up()
    assert ours(thingspace) == before
    assert eventually(lambda: "sent while nobody listened" in deployed.inbox())


def test_a_registration_that_points_elsewhere_is_refused_until_it_is_adopted(
    project: Project, emulator: EmulatorProcess, thingspace: Client
) -> None:
    thingspace.register_callback(ACCOUNT, FOREIGN)
    refused = project.up(fails=True)
    [error] = refused.errors
    assert "already go to https://other.example.com/hook" in error
    assert "this program wants http://127.0.0.1:" in error
    assert "adopt=True" in error
    assert ours(thingspace) == FOREIGN
    assert emulator.calls()["startCallbacks"] == 0
    project.configure("thingspace:adopt", "true")
    project.up()
    assert ours(thingspace) != FOREIGN


def test_destroy_leaves_a_registration_that_is_no_longer_ours(deployed: Project, thingspace: Client) -> None:
    thingspace.register_callback(ACCOUNT, FOREIGN)
    deployed.refresh()  # even when the state has taken note of it
    destroyed = deployed.destroy()
    assert "not ours: left as it is" in destroyed.text
    assert ours(thingspace) == FOREIGN


def test_a_registration_is_renewed_where_thingspace_refuses_to_replace_one_and_texts_meanwhile_are_fetched(
    deployed: Project, emulator: EmulatorProcess, thingspace: Client
) -> None:
    emulator.control("PUT", "switches", {"reregistration": "refused"})
    before = ours(thingspace)
    deployed.configure("thingspace:rotation", "2")
    emulator.hold("registerCallback", skip=1)
    renewed = deployed.begin("up", "--yes", "--skip-preview")
    assert eventually(emulator.holds)
    assert thingspace.list_callbacks(ACCOUNT) == []  # refused, deregistered, and not registered again yet
    emulator.text("sent in between")
    assert emulator.queued() == 1
    emulator.release()
    assert renewed.end().status == 0, renewed.text
    assert ours(thingspace).password != before.password
    assert eventually(lambda: deployed.inbox() == ["sent in between"])
    calls = emulator.calls()
    assert (calls["registerCallback"], calls["deregisterCallback"]) == (3, 1)


def test_a_listener_that_died_is_seen_and_started_again_on_the_same_store(
    deployed: Project, emulator: EmulatorProcess
) -> None:
    emulator.text("before")
    assert eventually(lambda: deployed.inbox() == ["before"])
    pid = deployed.listener_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: deployed.listener_pid() is None)
    emulator.text("while it was dead")
    assert eventually(lambda: emulator.queued() == 1)
    assert "does not run any more" in deployed.refresh().text
    deployed.up()
    assert deployed.listener_pid() not in {None, pid}
    assert eventually(lambda: sorted(deployed.inbox()) == ["before", "while it was dead"])
    deployed.up("--expect-no-changes")
