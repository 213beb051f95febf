"""Deploy, receive messages, update and destroy with the real engine."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import Project
from tests.support.waiting import wait_until
from thingspace_provider.api import ThingSpaceClient


def test_queued_and_live_messages_are_delivered_and_destroy_leaves_nothing(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    emulator.send_message("queued 1")
    emulator.send_message("queued 2")
    assert emulator.count_queued() == 2

    created = project.up()
    assert "+ 6 created" in created.changes
    wait_until(
        lambda: sorted(project.fetch_stored_messages()) == ["queued 1", "queued 2"],
        60,
        "the listener stores both queued messages",
    )
    assert emulator.count_queued() == 0

    emulator.send_message("live")
    wait_until(lambda: "live" in project.fetch_stored_messages(), 60, "the listener stores 'live'")

    calls = emulator.count_calls()
    assert "6 unchanged" in project.up("--expect-no-changes").changes
    project.preview("--expect-no-changes")
    assert emulator.count_calls() == calls  # an update without changes sends no call

    pid = project.listener_pid()
    assert pid is not None
    destroyed = project.destroy()
    assert "- 6 deleted" in destroyed.changes
    assert "activation removed from the state; no call was sent" in destroyed.output
    assert thingspace.list_callbacks(ACCOUNT) == []
    assert project.listener_pid() is None
    assert (project.listener_folder / "inbox.sqlite3").exists()  # the only copy of acknowledged messages


def test_an_update_of_n_accounts_sends_three_calls_for_each_within_one_session(
    project: Project, emulator: EmulatorProcess
) -> None:
    accounts = emulator.ready["accounts"]
    project.configure("thingspace:accounts", json.dumps(accounts))
    project.up()
    expected = {
        "token": 1,
        "login": 1,
        "listCallbacks": len(accounts),
        "registerCallback": len(accounts),
        "startCallbacks": len(accounts),
        "logout": 1,
    }
    # The logout is the provider's last call.
    wait_until(lambda: emulator.count_calls() == expected, 60, "the provider makes the expected calls")


def test_a_refresh_of_an_unchanged_stack_changes_nothing(deployed: Project) -> None:
    refreshed = deployed.refresh("--expect-no-changes")
    assert "6 unchanged" in refreshed.changes
    deployed.preview("--expect-no-changes")


def test_a_changed_trigger_sends_start_callbacks_once_more_in_place(
    deployed: Project, emulator: EmulatorProcess
) -> None:
    deployed.configure("thingspace:triggers", '["after the outage"]')
    updated = deployed.up()
    assert "~ 1 updated" in updated.changes
    calls = emulator.count_calls()
    assert (calls["startCallbacks"], calls["registerCallback"]) == (2, 1)


@pytest.mark.long
def test_another_account_replaces_registration_and_activation(
    deployed: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    program = deployed.folder / "__main__.py"
    program.write_text(
        "import pulumi\n"
        "from thingspace_provider.resources import CallbackRegistration, SmsCallbackActivation\n"
        "account = pulumi.Config('thingspace').require_object('accounts')[0]\n"
        "it = CallbackRegistration('one', account_name=account, url='https://sms.example.com/x', readiness=False,\n"
        "                          adopt=True)\n"
        "SmsCallbackActivation('one', account_name=account, registration_url=it.url)\n"
    )
    deployed.up()
    deployed.configure("thingspace:accounts", json.dumps([OTHER_ACCOUNT]))
    replaced = deployed.up()
    assert "+-2 replaced" in replaced.changes
    assert thingspace.list_callbacks(ACCOUNT) == []
    assert [registration.url for registration in thingspace.list_callbacks(OTHER_ACCOUNT)] == [
        "https://sms.example.com/x"
    ]
    started = [
        c["accountName"] for c in emulator.control("GET", "journal")["calls"] if c["operation"] == "startCallbacks"
    ]
    assert started == [ACCOUNT, ACCOUNT, OTHER_ACCOUNT]


def test_a_rotation_changes_the_password_everywhere_and_loses_no_message(
    deployed: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    before = thingspace.list_callbacks(ACCOUNT)[0].password
    emulator.send_message("stored before the restart")
    wait_until(
        lambda: deployed.fetch_stored_messages() == ["stored before the restart"],
        60,
        "the listener stores 'stored before the restart'",
    )
    emulator.control("PUT", "switches", {"passwordAfterReregistration": "alternating"})
    deployed.configure("thingspace:rotation", "2")
    messages: list[str] = []

    def send() -> None:
        messages.append(f"message {len(messages)}")
        emulator.send_message(messages[-1])

    rotated = deployed.start("up", "--yes", "--skip-preview")
    while not rotated.has_ended:  # before the listener's restart, during it, and before and after the registration
        send()
        time.sleep(0.05)
    assert rotated.end().status == 0, rotated.output
    for _ in range(12):
        send()
    assert thingspace.list_callbacks(ACCOUNT)[0].password != before
    wait_until(
        lambda: {"stored before the restart", *messages} <= set(deployed.fetch_stored_messages()),
        60,
        "the listener stores all sent messages",
    )
    deployed.up("--expect-no-changes")


@pytest.mark.long
def test_the_registered_password_is_accepted_after_a_failed_and_reverted_rotation(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.up()
    emulator.control("PUT", "switches", {"passwordAfterReregistration": "alternating"})
    emulator.add_fault("registerCallback", 500, "", times=100)
    project.configure("thingspace:rotation", "2")
    project.environment["THINGSPACE_RESOURCE_TIMEOUT_SECONDS"] = "2"
    project.up(fails=True)
    del project.environment["THINGSPACE_RESOURCE_TIMEOUT_SECONDS"]
    emulator.control("DELETE", "faults")
    project.configure("thingspace:rotation", "1")
    project.up()
    messages = [f"message {number}" for number in range(4)]
    for message in messages:
        emulator.send_message(message)
    wait_until(
        lambda: set(messages) == set(project.fetch_stored_messages()), 60, "the listener stores all sent messages"
    )
    known = json.loads(project.pulumi("stack", "output", "listenerCredential", "--show-secrets", "--json").output)
    assert len(known["previousPasswords"]) == 2
    assert known["password"] not in project.export()
    assert all(password not in project.export() for password in known["previousPasswords"])
