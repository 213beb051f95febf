"""The state that the real engine writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import GOLDEN_BASE_URL, TOP, Project
from tests.support.waiting import wait_until
from thingspace_provider.api import Registration, ThingSpaceClient
from thingspace_provider.config.credentials import base_url_fingerprint

MAX_ACTIVATION_BYTES = 1050
STATES = sorted((TOP / "tests" / "providers" / "states").glob("*.json"))

ACTIVATIONS = """
from thingspace_provider.resources import SmsCallbackActivation

for account in ("0000123456-00001", "0000123456-00002"):
    SmsCallbackActivation(account, account_name=account)
"""


def test_an_activation_is_small_and_holds_no_path_of_this_machine(project: Project) -> None:
    (project.folder / "__main__.py").write_text(ACTIVATIONS)
    project.up()
    resources = json.loads(project.export())["deployment"]["resources"]
    activations = [resource for resource in resources if resource["type"].endswith(":SmsCallbackActivation")]
    assert len(activations) == 2
    for activation in activations:
        assert len(json.dumps(activation, separators=(",", ":"))) < MAX_ACTIVATION_BYTES
        assert {"sourcePosition", "stackTrace"}.isdisjoint(activation)


@pytest.mark.long
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.stem)
def test_a_stack_of_an_earlier_version_is_refreshed_updated_and_destroyed(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient, state: Path
) -> None:
    project.configure("thingspace:accounts", json.dumps([ACCOUNT, OTHER_ACCOUNT]))
    project.configure("thingspace:rotation", "2")
    exported = state.read_text().replace(
        base_url_fingerprint(None, {"THINGSPACE_BASE_URL": GOLDEN_BASE_URL}, lambda _: None),
        base_url_fingerprint(None, emulator.environment, lambda _: None),
    )
    (project.folder / "state.json").write_text(exported)
    project.pulumi("stack", "import", "--file", "state.json")
    for registration in project.resources("CallbackRegistration"):  # as that version registered them
        known = registration["outputs"]
        thingspace.register_callback(
            known["accountName"], Registration(SERVICE, known["url"], known["username"], known["password"])
        )
    emulator.send_message("queued while nothing listened")

    project.preview("--expect-no-changes")
    refreshed = project.refresh()
    assert "8 unchanged" not in refreshed.changes  # the listener of the golden state does not run on this machine
    project.up()
    wait_until(
        lambda: project.fetch_stored_messages() == ["queued while nothing listened"],
        60,
        "the listener stores 'queued while nothing listened'",
    )
    project.up("--expect-no-changes")

    project.destroy()
    assert thingspace.list_callbacks(ACCOUNT) == thingspace.list_callbacks(OTHER_ACCOUNT) == []
    assert project.listener_pid() is None
