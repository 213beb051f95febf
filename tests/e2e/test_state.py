"""What the state holds, after the real engine has written it."""

from __future__ import annotations

import json

from pulumi_project import Project

ACTIVATIONS = """
from thingspace_provider.resources import SmsCallbackActivation

for account in ("0000123456-00001", "0000123456-00002"):
    SmsCallbackActivation(account, account_name=account)
"""


def test_an_activation_takes_less_than_a_kilobyte_and_no_path_of_this_machine(project: Project) -> None:
    (project.folder / "__main__.py").write_text(ACTIVATIONS)
    project.up()
    resources = json.loads(project.export())["deployment"]["resources"]
    activations = [it for it in resources if it["type"].endswith(":SmsCallbackActivation")]
    assert len(activations) == 2
    for activation in activations:
        assert len(json.dumps(activation, separators=(",", ":"))) < 1000
        assert {"sourcePosition", "stackTrace"}.isdisjoint(activation)
