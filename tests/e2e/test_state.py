"""What the state holds, after the real engine has written it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess, wait_until
from tests.support.pulumi_project import TOP, Project
from thingspace_provider.api import Registration, ThingSpaceClient

STATES = sorted((TOP / "tests" / "providers" / "states").glob("*.json"))

ACTIVATIONS = """
from thingspace_provider.resources import SmsCallbackActivation

for account in ("0000123456-00001", "0000123456-00002"):
    SmsCallbackActivation(account, account_name=account)
"""


def test_an_activation_takes_less_than_a_kilobyte_and_no_path_of_this_machine(project: Project) -> None:
    (project.folder / "__main__.py").write_text(ACTIVATIONS)
    project.up()
    resources = json.loads(project.export())["deployment"]["resources"]
    activations = [resource for resource in resources if resource["type"].endswith(":SmsCallbackActivation")]
    assert len(activations) == 2
    for activation in activations:
        assert len(json.dumps(activation, separators=(",", ":"))) < 1000
        assert {"sourcePosition", "stackTrace"}.isdisjoint(activation)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.stem)
def test_a_stack_of_an_earlier_version_is_refreshed_updated_and_destroyed(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient, state: Path
) -> None:
    project.configure("thingspace:accounts", json.dumps([ACCOUNT, OTHER_ACCOUNT]))
    project.configure("thingspace:rotation", "2")
    project.pulumi("stack", "import", "--file", str(state))
    for registration in project.resources("CallbackRegistration"):  # as that version left them in ThingSpace
        known = registration["outputs"]
        thingspace.register_callback(
            known["accountName"], Registration(SERVICE, known["url"], known["username"], known["password"])
        )
    emulator.send_message("queued while nobody listened")

    project.preview("--expect-no-changes")
    refreshed = project.refresh()
    assert "8 unchanged" not in refreshed.changes  # the listener of that machine does not run on this one
    project.up()
    assert wait_until(lambda: project.fetch_stored_messages() == ["queued while nobody listened"])
    project.up("--expect-no-changes")

    project.destroy()
    assert thingspace.list_callbacks(ACCOUNT) == thingspace.list_callbacks(OTHER_ACCOUNT) == []
    assert project.listener_pid() is None
