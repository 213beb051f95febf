"""Replacements with the real engine: it creates the new resource before it deletes the old one."""

from __future__ import annotations

import json

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.api import ThingSpaceClient


def find_urn(project: Project, kind: str) -> str:
    resources = json.loads(project.export())["deployment"]["resources"]
    [urn] = [resource["urn"] for resource in resources if resource["type"].endswith(f":{kind}")]
    return str(urn)


def test_a_replaced_registration_stays_registered_and_messages_are_requested(
    deployed: Project, thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    [before] = thingspace.list_callbacks(ACCOUNT)
    started = emulator.count_calls()["startCallbacks"]
    output = deployed.up("--replace", find_urn(deployed, "CallbackRegistration")).output
    assert "not deleted: this update has registered the service again" in output
    assert thingspace.list_callbacks(ACCOUNT) == [before]
    assert emulator.count_calls()["startCallbacks"] == started + 1
    deployed.refresh("--expect-no-changes")
    deployed.up("--expect-no-changes")
    deployed.destroy()
    assert thingspace.list_callbacks(ACCOUNT) == []


@pytest.mark.long
def test_a_replaced_local_listener_runs_and_keeps_its_messages(deployed: Project, emulator: EmulatorProcess) -> None:
    emulator.control("POST", "messages", {"accountName": ACCOUNT, "message": "before"})
    emulator.control("GET", "idle?timeoutSeconds=20")
    output = deployed.up("--replace", find_urn(deployed, "LocalListener")).output
    assert "not stopped, because this update has started it again" in output
    assert deployed.listener_pid() is not None
    assert deployed.fetch_stored_messages() == ["before"]
    deployed.up("--expect-no-changes")
