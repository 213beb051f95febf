"""The stack files: those that the project ships, and those that a person gets wrong."""

from __future__ import annotations

import json

import pytest
from pulumi_project import Project
from thingspace_emulator import ACCOUNT, EmulatorProcess

ACCOUNTS = 'config:\n  thingspace:accounts: ["0000123456-00001"]\n'
LISTENER = "config:\n  thingspace:listener: {kind: local}\n"
BOTH = ACCOUNTS + "  thingspace:listener: {kind: local}\n"


@pytest.mark.parametrize(("stack", "accounts"), [("dev", 1), ("staging", 2), ("prod", 3)])
def test_every_shipped_stack_passes_a_preview(
    project: Project, emulator: EmulatorProcess, stack: str, accounts: int
) -> None:
    if stack != "dev":
        project.init(stack)
    previewed = project.preview("--stack", stack)
    for kind in ("CallbackRegistration", "SmsCallbackActivation"):
        created = [line for line in previewed.text.splitlines() if f":{kind} " in line and line.endswith(" create ")]
        assert len(created) == accounts
    assert emulator.calls() == {}


def test_prod_comes_up_against_the_emulator_and_protects_its_registrations(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.init("prod")
    emulator.control("POST", "accounts", {"accountName": "0000987654-00002"})
    emulator.control("POST", "accounts", {"accountName": "0000987654-00003"})
    file = project.folder / "stacks" / "Pulumi.prod.yaml"
    stack = file.read_text()
    assert "    readiness: true\n" in stack
    file.write_text(stack.replace("    readiness: true\n", ""))  # off when not asked for: nobody is at example.com
    project.up("--stack", "prod")
    assert emulator.calls()["startCallbacks"] == 3
    refused = project.destroy("--stack", "prod", fails=True)
    assert "protect" in refused.text
    assert emulator.calls()["deregisterCallback"] == 0


def test_the_credential_for_a_listener_elsewhere_is_there_before_anything_is_registered(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.init("staging")
    project.up("--stack", "staging", "--target", "**CallbackCredential::credential")
    [credential] = project.resources("CallbackCredential")
    shown = project.pulumi("stack", "output", "listenerCredential", "--show-secrets", "--json").text
    given = json.loads(shown)
    assert given == {key: credential["outputs"][key] for key in given}
    assert set(given) == {"username", "password", "previousPassword", "pathToken"}
    assert given["password"] not in project.export()
    assert emulator.calls() == {}


def test_leading_zeros_of_account_names_are_kept(deployed: Project, emulator: EmulatorProcess) -> None:
    [activation] = deployed.resources("SmsCallbackActivation")
    assert activation["id"] == activation["outputs"]["accountName"] == ACCOUNT
    calls = emulator.control("GET", "journal")["calls"]
    assert {call["accountName"] for call in calls if call["operation"] == "startCallbacks"} == {ACCOUNT}


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        ("config: {}\n", ["thingspace:accounts in stacks/Pulumi.dev.yaml is missing", '["0000123456-00001"]']),
        (ACCOUNTS, ["thingspace:listener in stacks/Pulumi.dev.yaml is missing", "kind: external"]),
        (
            LISTENER + "  thingspace:accounts: [0000123456]\n",
            ["a number has no leading zeros", 'quote the account name, as "0000123456-00001"'],
        ),
        (LISTENER + '  thingspace:accounts: ["1", "1"]\n', ["names 1 more than once"]),
        (LISTENER + "  thingspace:accounts: 0000123456-00001\n", ["must be a list", '["0000123456-00001"]']),
        (BOTH + "  thingspace:acounts: []\n", ["thingspace:acounts", "did you mean thingspace:accounts?"]),
        (ACCOUNTS + "  thingspace:listener: {kind: kubernetes}\n", ["thingspace:listener.kind", "local or external"]),
        (
            ACCOUNTS + "  thingspace:listener: {kind: local, prot: 80}\n",
            ["thingspace:listener.prot", "did you mean port?"],
        ),
        (ACCOUNTS + "  thingspace:listener: {kind: local, port: 8080}\n", ["thingspace:listener.port", "8080"]),
        (ACCOUNTS + "  thingspace:listener: {kind: external}\n", ["thingspace:listener.url", "is missing"]),
        (BOTH + "  thingspace:protect: sometimes\n", ["thingspace:protect", "must be true or false"]),
        (BOTH + "  thingspace:profile: plant-a\n", ["thingspace:profile", "letters, digits and _"]),
    ],
)
def test_a_wrong_stack_file_fails_before_anything_is_created(
    project: Project, emulator: EmulatorProcess, stack: str, said: list[str]
) -> None:
    project.write_stack(stack)
    failed = project.up(fails=True)
    for part in [*said, "stacks/Pulumi.dev.yaml"]:
        assert part in failed.text
    assert "Traceback" not in failed.text
    assert project.resources("CallbackCredential") == []
    assert emulator.calls() == {}
