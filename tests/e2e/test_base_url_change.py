"""A deployed stack with a changed base URL, for example from the emulator to production."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.api import ThingSpaceClient

PROGRAM = f"""
from thingspace_provider.resources import CallbackRegistration, SmsCallbackActivation

one = {{"account_name": "{ACCOUNT}"}}
other = {{"account_name": "{OTHER_ACCOUNT}", "profile": "plant_b"}}
for name, its in (("one", one), ("other", other)):
    it = CallbackRegistration(name, url="https://sms.example.com/" + name, readiness=False, **its)
    SmsCallbackActivation(name, registration_url=it.endpoint, triggers=[it.registered_at], **its)
SmsCallbackActivation("alone", account_name="{ACCOUNT}")
"""


@pytest.fixture
def production() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as process:
        yield process


def as_profile(emulator: EmulatorProcess) -> str:
    """Return the stack configuration of a profile with all of its settings."""
    keys = {"appKey", "appSecret", "username", "password"}
    return json.dumps({"plant_b": {"baseUrl": emulator.url, **{key: emulator.ready[key] for key in keys}}})


@pytest.mark.long
def test_a_changed_base_url_registers_and_activates_there_and_leaves_the_old_registrations(
    project: Project, emulator: EmulatorProcess, production: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    (project.folder / "__main__.py").write_text(PROGRAM)
    project.configure_secret("thingspace:profiles", as_profile(emulator))
    project.up()
    before = emulator.count_calls()
    without_credentials = {
        key: value for key, value in project.environment.items() if not key.startswith("THINGSPACE_")
    }

    def preview(base_url: str) -> str:
        """Preview without credentials of the default user."""
        known, project.environment = project.environment, {**without_credentials, "THINGSPACE_BASE_URL": base_url}
        changes = project.preview().changes
        project.environment = known
        return changes

    assert "6 unchanged" in preview(emulator.url + "/")
    assert "~ 3 to update" in preview("")  # production
    project.environment |= production.environment
    moved = project.up()
    assert "~ 3 updated" in moved.changes
    expected = "created here. The one at another ThingSpace (the base URL has changed) was not deleted."
    assert f"account {ACCOUNT}: EnhancedConnectivityService registration {expected}" in moved.output
    calls = production.count_calls()
    assert (calls["registerCallback"], calls["startCallbacks"]) == (1, 2)

    project.configure_secret("thingspace:profiles", as_profile(production))
    assert "~ 2 updated" in project.up().changes
    project.up("--expect-no-changes")
    calls = production.count_calls()
    assert (calls["registerCallback"], calls["startCallbacks"]) == (2, 3)
    assert emulator.count_calls() == before
    assert len(thingspace.list_callbacks(ACCOUNT)) == len(thingspace.list_callbacks(OTHER_ACCOUNT)) == 1

    project.environment |= emulator.environment
    assert "not deleted: it is at another ThingSpace" in project.destroy().output
    assert production.count_calls()["deregisterCallback"] == 1  # the profile's registration only
