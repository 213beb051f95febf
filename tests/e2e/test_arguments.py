"""Arguments of components and hosts: outputs of other resources, and errors before anything is created."""

from __future__ import annotations

import re

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.api import Registration, ThingSpaceClient

PROGRAM = f"""
import pulumi
from thingspace_provider import CallbackCredential, ExternalListener, SmsCallbacks

credential = CallbackCredential("credential")
host_name = credential.username.apply(lambda name: f"{{name}}.example.com")  # as of a load balancer
listener = ExternalListener(
    url=pulumi.Output.concat("https://", host_name, "%s"),
    credential=credential,
    revision=pulumi.Output.from_input("1"),
    readiness=False,
)
SmsCallbacks(
    "sms",
    account_names=["{ACCOUNT}"],
    listener=%s,
    credential=credential,
    triggers=pulumi.Output.from_input(%s),
)
"""


def write_program(
    project: Project, path: str = "/{path_token}/{account}", listener: str = "listener", triggers: str = "[]"
) -> None:
    (project.folder / "__main__.py").write_text(PROGRAM % (path, listener, triggers))


@pytest.mark.long
def test_url_revision_and_triggers_can_be_outputs(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    write_program(project)
    project.preview()
    project.up()
    [registration] = thingspace.list_callbacks(ACCOUNT)
    [credential] = project.resources("CallbackCredential")
    outputs = credential["outputs"]
    assert registration.url == f"https://{outputs['username']}.example.com/{outputs['pathToken']}/{ACCOUNT}"
    assert outputs["pathToken"] not in project.export()
    project.preview("--expect-no-changes")
    write_program(project, triggers="['2026-03-01']")
    previewed = project.preview("--diff")
    changed = re.findall(r"^ +[~+-] (\w+|\[\d\]) *: ", previewed.output, flags=re.MULTILINE)
    assert changed == ["triggers", "triggers", "[0]"]  # those of the component have keys of their own
    project.up()
    assert emulator.count_calls()["startCallbacks"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "/{path_token}/{acount}"}, "ExternalListener: url holds {acount}, which is not replaced"),
        ({"listener": "'https://sms.example.com'"}, "SmsCallbacks: listener must be a listener host"),
    ],
    ids=["placeholder in an output", "text as listener"],
)
def test_invalid_argument_is_one_error_without_a_traceback(
    project: Project, emulator: EmulatorProcess, arguments: dict[str, str], message: str
) -> None:
    write_program(project, **arguments)
    error, _ = project.up(fails=True).errors  # and the engine's "program exited"
    assert message in error
    assert "Traceback" not in project.printed[-1]
    assert emulator.count_calls() == {}


@pytest.mark.long
def test_secret_url_stays_secret_however_short_its_token_is(project: Project, thingspace: ThingSpaceClient) -> None:
    url = "https://sms.example.com/cb/sentinel-1"
    options = "readiness=False"
    program = f"""
import pulumi
from thingspace_provider import CallbackRegistration

CallbackRegistration("one", account_name="{ACCOUNT}", url=pulumi.Output.secret("{url}"), OPTIONS)
"""
    file = project.folder / "__main__.py"
    file.write_text(program.replace("OPTIONS", options))
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, url.replace("cb", "old")))
    project.up("--diff", fails=True)  # a conflict
    file.write_text(program.replace("OPTIONS", f"{options}, adopt=True"))
    project.preview("--diff")
    project.up("--diff")
    project.refresh("--diff", "--expect-no-changes")
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, url.replace("cb", "drifted")))
    project.refresh("--diff")
    assert "sentinel" not in project.export()
    project.up("--diff")
    [registration] = project.resources("CallbackRegistration")
    assert registration["outputs"]["url"] == url
    fingerprint = registration["outputs"]["urlFingerprint"]  # a digest: short tokens could be guessed from it
    project.up("--refresh", "--expect-no-changes")
    project.destroy("--diff")
    printed = "".join([*project.printed, *(path.read_text() for path in project.folder.parent.glob("state/**/*.json"))])
    assert "sentinel" not in printed
    assert fingerprint not in printed
