"""Resources read by id: the program looks one up that another program or stack manages."""

from __future__ import annotations

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.api import Registration, ThingSpaceClient

PROGRAM = f"""
import pulumi
from thingspace_provider import CallbackCredential, CallbackRegistration, LocalListener, SmsCallbackActivation


def by_id(value):
    return pulumi.ResourceOptions(id=value)


credential = CallbackCredential("credential", opts=by_id("thingspace-01234567"))
registration = CallbackRegistration(
    "registration",
    account_name="{ACCOUNT}",
    url="https://sms.example.com/a",
    opts=by_id("{ACCOUNT}/{SERVICE}"),
)
activation = SmsCallbackActivation("activation", account_name="{ACCOUNT}", opts=by_id("{ACCOUNT}"))
listener = LocalListener("other", account_names=["{ACCOUNT}"], credential=credential, opts=by_id("%s"))
pulumi.export("values", [credential.username, registration.url, activation.account_name, listener.url])
"""


@pytest.mark.long
def test_every_resource_is_read_by_id_without_drift(
    deployed: Project, thingspace: ThingSpaceClient, emulator: EmulatorProcess
) -> None:
    [listener] = deployed.resources("LocalListener")
    (deployed.folder / "__main__.py").write_text(PROGRAM % deployed.listener_folder)
    deployed.init("other")
    url = "https://other.example.com/sentinel-hook"
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, url, "other", "sentinel-password"))
    before = emulator.count_calls()
    output = deployed.preview("--diff").output + deployed.up("--diff").output
    printed = deployed.pulumi("stack", "output", "values", "--show-secrets").output
    for value in ("thingspace-01234567", url, ACCOUNT, listener["outputs"]["url"]):
        assert value in printed
    output += deployed.refresh("--diff", "--expect-no-changes").output
    deployed.up("--expect-no-changes")
    deployed.destroy()
    assert "sentinel" not in output + deployed.export()
    assert "changed outside of Pulumi" not in output
    after = emulator.count_calls()
    assert {name for name in after if after[name] != before.get(name, 0)} <= {
        "token",
        "login",
        "logout",
        "listCallbacks",
    }
    assert deployed.listener_pid() is not None
