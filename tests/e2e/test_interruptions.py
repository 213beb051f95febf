"""Ctrl-C and `kill -9` while a call to ThingSpace is under way, and what the next command makes of it.

The emulator holds the call, and takes it in the end: the case in which Pulumi's state and ThingSpace disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess, eventually
from tests.support.pulumi_project import Outcome, Project, Underway
from thingspace_provider.api import Client

PROGRAM = f"""
from thingspace_provider.resources import CallbackRegistration, SmsCallbackActivation

it = CallbackRegistration("one", account_name="{ACCOUNT}", url="https://sms.example.com/%s", readiness=False)
SmsCallbackActivation("one", account_name="{ACCOUNT}", registration_url=it.endpoint, triggers=["%s"])
"""
ROTATION = f"""
from thingspace_provider.hosting import ExternalListener
from thingspace_provider.resources import CallbackCredential, SmsCallbacks

credential = CallbackCredential("credential", rotation=%d)
listener = ExternalListener(url="https://sms.example.com/{{path_token}}/{{account}}", credential=credential)
SmsCallbacks("sms", account_names=["{ACCOUNT}"], listener=listener, credential=credential)
"""
UP = ("up", "--yes", "--skip-preview")
DESTROY = ("destroy", "--yes", "--skip-preview")


@dataclass(frozen=True)
class Step:
    """What is interrupted.

    Args:
        name: of the step.
        operation: the call that is held.
        before: the program (URL and trigger) that is up before, if any.
        program: the one that the interrupted command is about.
        command: which that is.
        found: what the next command says when ThingSpace is already as it is to be.
    """

    name: str
    operation: str
    before: tuple[str, str] | None
    program: tuple[str, str]
    command: tuple[str, ...] = UP
    found: str = ""


REGISTERED = "was registered already as this program wants it; nothing was sent"
CREATE = Step("create a registration", "registerCallback", None, ("a", "1"), found=REGISTERED)
STEPS = (
    CREATE,
    Step("update a registration", "registerCallback", ("a", "1"), ("b", "1"), found=REGISTERED),
    Step("delete a registration", "deregisterCallback", ("a", "1"), ("a", "1"), DESTROY, found="was gone already"),
    Step("create an activation", "startCallbacks", None, ("a", "1")),
    Step("update an activation", "startCallbacks", ("a", "1"), ("a", "2")),
)


def one_ctrl_c(underway: Underway, emulator: EmulatorProcess) -> Outcome:
    """The engine waits for the call and remembers what came of it."""
    underway.interrupt()
    assert eventually(lambda: "^C received; cancelling" in underway.text)
    emulator.release()
    return underway.end()


def two_ctrl_c(underway: Underway, emulator: EmulatorProcess) -> Outcome:
    """The engine ends; the provider lives on for some seconds and finishes the call."""
    underway.interrupt()
    assert eventually(lambda: "^C received; cancelling" in underway.text)
    underway.interrupt()
    assert eventually(lambda: "^C received; terminating" in underway.text)
    emulator.release()
    return underway.end()


def kill_provider(underway: Underway, emulator: EmulatorProcess) -> Outcome:
    """The engine sees the provider go."""
    underway.kill_provider()
    outcome = underway.end()
    emulator.release()
    return outcome


def kill_engine(underway: Underway, emulator: EmulatorProcess) -> Outcome:
    """The engine's lock stays, and the provider, which finishes the call."""
    underway.kill()
    outcome = underway.end()
    emulator.release()
    return outcome


Interruption = Callable[[Underway, EmulatorProcess], Outcome]


@pytest.fixture
def simple(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Project]:
    """A stack that is about to be a registration and its activation."""
    project = Project(tmp_path, emulator.environment)
    project.init("dev")
    yield project
    project.clear_away()


def interrupted(project: Project, emulator: EmulatorProcess, thingspace: Client, how: Interruption, step: Step) -> None:
    program = project.folder / "__main__.py"
    if step.before:
        program.write_text(PROGRAM % step.before)
        project.up()
    program.write_text(PROGRAM % step.program)
    sent = emulator.calls()[step.operation]
    emulator.hold(step.operation)
    underway = project.begin(*step.command)
    assert eventually(emulator.holds)
    ended = how(underway, emulator)
    assert ended.status != 0 or (how is one_ctrl_c and step.command == DESTROY)  # the last step, and it was waited for
    assert eventually(lambda: emulator.calls()[step.operation] == sent + 1)

    if how is kill_engine:  # what the README says to do
        assert "`pulumi cancel`" in project.pulumi(*step.command, fails=True).text
        project.pulumi("cancel", "--yes")
    following = project.pulumi(*step.command)

    remembered = how is one_ctrl_c
    repeated = step.operation == "startCallbacks" and not remembered
    assert emulator.calls()[step.operation] == sent + (2 if repeated else 1)
    assert (step.found in following.text) is (not remembered or not step.found)
    pending = how in {two_ctrl_c, kill_engine}
    assert ("pending operations from previous deployment" in following.text) == pending
    if step.command == DESTROY:
        assert thingspace.list_callbacks(ACCOUNT) == []
        assert project.resources("CallbackRegistration") == []
        return
    assert [it.url for it in thingspace.list_callbacks(ACCOUNT)] == [f"https://sms.example.com/{step.program[0]}"]
    if pending:  # as the README says
        project.refresh("--clear-pending-creates")
    last = project.up("--expect-no-changes")
    assert "pending operations" not in last.text


def test_a_create_that_ended_unseen_is_found_again(
    simple: Project, emulator: EmulatorProcess, thingspace: Client
) -> None:
    interrupted(simple, emulator, thingspace, two_ctrl_c, CREATE)


@pytest.mark.parametrize("between", [(), ("refresh", "--yes", "--skip-preview")], ids=["", "after a refresh"])
def test_a_renewal_that_ended_unseen_still_has_queued_texts_sent(
    simple: Project, emulator: EmulatorProcess, between: tuple[str, ...]
) -> None:
    program = simple.folder / "__main__.py"
    program.write_text(ROTATION % 1)
    simple.up()
    emulator.text("refused by the listener")
    assert eventually(lambda: emulator.queued() == 1)
    program.write_text(ROTATION % 2)
    emulator.hold("registerCallback")
    underway = simple.begin(*UP)
    assert eventually(emulator.holds)
    assert kill_provider(underway, emulator).status != 0
    assert eventually(lambda: emulator.calls()["registerCallback"] == 2)
    if between:
        simple.pulumi(*between)
    assert REGISTERED in simple.up().text
    assert (emulator.calls()["registerCallback"], emulator.calls()["startCallbacks"]) == (2, 2)
    simple.up("--expect-no-changes")


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS, ids=lambda it: it.name)
@pytest.mark.parametrize(
    "how", [one_ctrl_c, two_ctrl_c, kill_provider, kill_engine], ids=lambda it: it.__name__.replace("_", " ")
)
def test_whatever_is_interrupted_the_next_command_ends_in_the_right_state(
    simple: Project, emulator: EmulatorProcess, thingspace: Client, how: Interruption, step: Step
) -> None:
    interrupted(simple, emulator, thingspace, how, step)
