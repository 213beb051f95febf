"""Stack files: the shipped ones, and invalid ones."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.listener_process import ListenerProcess, NotReady
from tests.support.pulumi_project import Project
from tests.support.waiting import wait_until

ACCOUNTS = 'config:\n  thingspace:accounts: ["0000123456-00001"]\n'
LISTENER = "config:\n  thingspace:listener: {kind: local}\n"
BOTH = ACCOUNTS + "  thingspace:listener: {kind: local}\n"


def use_external_listener(project: Project, stack: str) -> None:
    """Replace the listener on Kubernetes by a URL without a probe: there is no cluster. tests/cluster has one."""
    file = project.folder / "stacks" / f"Pulumi.{stack}.yaml"
    listener = " {kind: external, readiness: false, url: 'https://sms.example.com/{path_token}/{account}'}\n"
    text, count = re.subn(r"(?<=  thingspace:listener:)\n(    .*\n)+", listener, file.read_text())
    assert count == 1
    file.write_text(text)


@pytest.mark.parametrize(("stack", "accounts"), [("dev", 1), ("staging", 2), ("prod", 3)])
def test_every_shipped_stack_passes_a_preview(
    project: Project, emulator: EmulatorProcess, stack: str, accounts: int
) -> None:
    if stack != "dev":
        project.init(stack)
        use_external_listener(project, stack)
    previewed = project.preview("--stack", stack)
    for kind in ("CallbackRegistration", "SmsCallbackActivation"):
        created = [line for line in previewed.output.splitlines() if f":{kind} " in line and line.endswith(" create ")]
        assert len(created) == accounts
    assert emulator.count_calls() == {}


def test_prod_deploys_to_the_emulator_and_protects_its_registrations(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.init("prod")
    emulator.control("POST", "accounts", {"accountName": "0000987654-00002"})
    emulator.control("POST", "accounts", {"accountName": "0000987654-00003"})
    use_external_listener(project, "prod")
    project.up("--stack", "prod")
    assert emulator.count_calls()["startCallbacks"] == 3
    rejected = project.destroy("--stack", "prod", fails=True)
    assert "protect" in rejected.output
    assert emulator.count_calls()["deregisterCallback"] == 0


def test_the_credential_for_an_external_listener_exists_before_anything_is_registered(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.init("staging")
    use_external_listener(project, "staging")
    project.up("--stack", "staging", "--target", "**CallbackCredential::credential")
    [credential] = project.resources("CallbackCredential")
    output = project.pulumi("stack", "output", "listenerCredential", "--show-secrets", "--json").output
    given = json.loads(output)
    assert given == {key: credential["outputs"][key] for key in given}
    assert set(given) == {"username", "password", "previousPasswords", "pathToken"}
    assert given["password"] not in project.export()
    assert emulator.count_calls() == {}


@pytest.mark.long
def test_a_rotation_with_an_external_listener_works_as_the_readme_describes(
    project: Project, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """SIGHUP reloads the new credential. Before that, `up` fails without a change and names the command to run."""
    target = ("--target", "**CallbackCredential::credential")
    show = ("stack", "output", "listenerCredential", "--show-secrets", "--json")
    for port in range(28220, 28199, -1):
        project.write_stack(
            ACCOUNTS + "  thingspace:listener:\n    kind: external\n"
            f"    url: http://127.0.0.1:{port}/callbacks/{{path_token}}/{{account}}\n"
        )
        project.up(*target)
        with contextlib.suppress(NotReady):  # the port is in use
            listener = ListenerProcess(tmp_path, port=port, **json.loads(project.pulumi(*show).output))
            break
    try:
        project.up()
        project.configure("thingspace:rotation", "2")
        early = project.up(fails=True)
        assert "`pulumi up --target '**CallbackCredential::credential'`" in early.output
        emulator.send_message("before")
        project.up(*target)
        listener.write(port=port, **json.loads(project.pulumi(*show).output))
        listener.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "settings_reloaded" in listener.log.read_text(), 60, "the listener reloads its settings")
        emulator.send_message("between")
        project.up()
        emulator.send_message("after")
        wait_until(
            lambda: listener.message_texts() == ["before", "between", "after"],
            60,
            "the listener stores all three messages",
        )
    finally:
        listener.kill()


def test_leading_zeros_of_account_names_are_kept(deployed: Project, emulator: EmulatorProcess) -> None:
    [activation] = deployed.resources("SmsCallbackActivation")
    assert activation["id"] == activation["outputs"]["accountName"] == ACCOUNT
    calls = emulator.control("GET", "journal")["calls"]
    assert {call["accountName"] for call in calls if call["operation"] == "startCallbacks"} == {ACCOUNT}


INVALID_STACKS = [
    ("config: {}\n", ["thingspace:accounts in stacks/Pulumi.dev.yaml is missing", '["0000123456-00001"]']),
    (ACCOUNTS, ["thingspace:listener in stacks/Pulumi.dev.yaml is missing", "kind: external"]),
    (
        LISTENER + "  thingspace:accounts: [0000123456]\n",
        ["is a number and has no leading zeros", 'Quote the account name, for example "0000123456-00001"'],
    ),
    (LISTENER + '  thingspace:accounts: ["1", "1"]\n', ["names 1 more than once"]),
    (LISTENER + "  thingspace:accounts: 0000123456-00001\n", ["must be a list", '["0000123456-00001"]']),
    (BOTH + "  thingspace:acounts: []\n", ["thingspace:acounts", "did you mean thingspace:accounts?"]),
    (ACCOUNTS + "  thingspace:listener: {kind: lambda}\n", ["thingspace:listener.kind", "external or kubernetes"]),
    (ACCOUNTS + "  thingspace:listener: {kind: kubernetes}\n", ["thingspace:listener.image", "is missing"]),
    (
        ACCOUNTS + "  thingspace:listener: {kind: local, prot: 80}\n",
        ["thingspace:listener.prot", "did you mean port?"],
    ),
    (ACCOUNTS + "  thingspace:listener: {kind: local, port: 8080}\n", ["thingspace:listener.port", "8080"]),
    (ACCOUNTS + "  thingspace:listener: {kind: external}\n", ["thingspace:listener.url", "is missing"]),
    (BOTH + "  thingspace:protect: sometimes\n", ["thingspace:protect", "must be true or false"]),
    (BOTH + "  thingspace:profile: plant-a\n", ["thingspace:profile", "letters, digits and _"]),
]


@pytest.mark.parametrize(
    ("stack", "expected"),
    [INVALID_STACKS[0], *(pytest.param(*case, marks=pytest.mark.long) for case in INVALID_STACKS[1:])],
)
def test_an_invalid_stack_file_fails_before_anything_is_created(
    project: Project, emulator: EmulatorProcess, stack: str, expected: list[str]
) -> None:
    project.write_stack(stack)
    failed = project.up(fails=True)
    for part in [*expected, "stacks/Pulumi.dev.yaml"]:
        assert part in failed.output
    assert "Traceback" not in failed.output
    assert project.resources("CallbackCredential") == []
    assert emulator.count_calls() == {}
