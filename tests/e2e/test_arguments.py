"""Arguments of components and hosts: outputs of other resources, and errors before anything is created."""

from __future__ import annotations

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.api import ThingSpaceClient

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
    assert '+ [2]: "2026-03-01"' in previewed.output  # the other triggers keep their positions
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
