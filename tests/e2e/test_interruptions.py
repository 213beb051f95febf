"""Ctrl-C and `kill -9` during a call to ThingSpace, and recovery by the next command.

The emulator holds the call and then completes it, so that Pulumi's state and ThingSpace disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.pulumi_project import CommandResult, Project, RunningCommand
from tests.support.waiting import wait_until
from thingspace_provider.api import ThingSpaceClient

PROGRAM = f"""
from thingspace_provider.resources import CallbackRegistration, SmsCallbackActivation

it = CallbackRegistration("one", account_name="{ACCOUNT}", url="https://sms.example.com/%s", readiness=False)
SmsCallbackActivation("one", account_name="{ACCOUNT}", registration_url=it.endpoint, triggers=["%s"])
"""
ROTATION = f"""
from thingspace_provider.hosting import ExternalListener
from thingspace_provider.resources import CallbackCredential, SmsCallbacks

credential = CallbackCredential("credential", rotation=%d)
url = "https://sms.example.com/{{path_token}}/{{account}}"
listener = ExternalListener(url=url, credential=credential, readiness=False)
SmsCallbacks("sms", account_names=["{ACCOUNT}"], listener=listener, credential=credential)
"""
UP = ("up", "--yes", "--skip-preview")
DESTROY = ("destroy", "--yes", "--skip-preview")


@dataclass(frozen=True)
class Step:
    """An interrupted resource operation.

    Args:
        name: name of the step.
        operation: the API operation that is held.
        before: URL and trigger of the program that is deployed before, if any.
        program: URL and trigger of the program of the interrupted command.
        command: the interrupted command.
        expected_adoption: output of the next command if ThingSpace is already in the wanted state.
    """

    name: str
    operation: str
    before: tuple[str, str] | None
    program: tuple[str, str]
    command: tuple[str, ...] = UP
    expected_adoption: str = ""


REGISTERED = "registration is already up to date."
CREATE = Step("create a registration", "registerCallback", None, ("a", "1"), expected_adoption=REGISTERED)
STEPS = (
    CREATE,
    Step("update a registration", "registerCallback", ("a", "1"), ("b", "1"), expected_adoption=REGISTERED),
    Step(
        "delete a registration",
        "deregisterCallback",
        ("a", "1"),
        ("a", "1"),
        DESTROY,
        expected_adoption="registration not found. There is nothing to delete.",
    ),
    Step("create an activation", "startCallbacks", None, ("a", "1")),
    Step("update an activation", "startCallbacks", ("a", "1"), ("a", "2")),
)


def press_ctrl_c_once(underway: RunningCommand, emulator: EmulatorProcess) -> CommandResult:
    """The engine waits for the call and records its result."""
    underway.interrupt()
    wait_until(
        lambda: "^C received; cancelling" in underway.output, 60, "the Pulumi CLI prints '^C received; cancelling'"
    )
    emulator.release()
    return underway.end()


def press_second_ctrl_c(underway: RunningCommand, emulator: EmulatorProcess) -> CommandResult:
    """The engine exits; the provider finishes the call in the next seconds."""
    underway.interrupt()
    wait_until(
        lambda: "^C received; cancelling" in underway.output, 60, "the Pulumi CLI prints '^C received; cancelling'"
    )
    underway.interrupt()
    wait_until(
        lambda: "^C received; terminating" in underway.output, 60, "the Pulumi CLI prints '^C received; terminating'"
    )
    emulator.release()
    return underway.end()


def kill_provider(underway: RunningCommand, emulator: EmulatorProcess) -> CommandResult:
    """The engine detects that the provider has exited."""
    underway.kill_provider()
    outcome = underway.end()
    emulator.release()
    return outcome


def kill_engine(underway: RunningCommand, emulator: EmulatorProcess) -> CommandResult:
    """The engine's lock remains, and the provider finishes the call."""
    underway.kill()
    outcome = underway.end()
    emulator.release()
    return outcome


Interruption = Callable[[RunningCommand, EmulatorProcess], CommandResult]


@pytest.fixture
def simple_project(tmp_path: Path, emulator: EmulatorProcess) -> Iterator[Project]:
    """An empty stack for a registration and its activation."""
    project = Project(tmp_path, emulator.environment)
    project.init("dev")
    yield project
    project.clean_up()


def interrupt_step(
    project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient, interrupt: Interruption, step: Step
) -> None:
    program = project.folder / "__main__.py"
    if step.before:
        program.write_text(PROGRAM % step.before)
        project.up()
    program.write_text(PROGRAM % step.program)
    sent = emulator.count_calls()[step.operation]
    emulator.hold(step.operation)
    underway = project.start(*step.command)
    wait_until(emulator.is_holding, 60, "the emulator holds the call")
    ended = interrupt(underway, emulator)
    was_last_step = interrupt is press_ctrl_c_once and step.command == DESTROY  # and the engine waited for it
    assert ended.status != 0 or was_last_step
    wait_until(lambda: emulator.count_calls()[step.operation] == sent + 1, 60, "the held call ends")

    if interrupt is kill_engine:  # as the README describes
        assert "`pulumi cancel`" in project.pulumi(*step.command, fails=True).output
        project.pulumi("cancel", "--yes")
    following = project.pulumi(*step.command)

    is_recorded = interrupt is press_ctrl_c_once
    is_repeated = step.operation == "startCallbacks" and not is_recorded
    assert emulator.count_calls()[step.operation] == sent + (2 if is_repeated else 1)
    assert (step.expected_adoption in following.output) is (not is_recorded or not step.expected_adoption)
    pending = interrupt in {press_second_ctrl_c, kill_engine}
    assert ("pending operations from previous deployment" in following.output) == pending
    if step.command == DESTROY:
        assert thingspace.list_callbacks(ACCOUNT) == []
        assert project.resources("CallbackRegistration") == []
        return
    assert [registration.url for registration in thingspace.list_callbacks(ACCOUNT)] == [
        f"https://sms.example.com/{step.program[0]}"
    ]
    if pending:  # as the README describes
        project.refresh("--clear-pending-creates")
    last = project.up("--expect-no-changes")
    assert "pending operations" not in last.output


def test_an_interrupted_create_is_found_by_the_next_command(
    simple_project: Project, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    interrupt_step(simple_project, emulator, thingspace, press_second_ctrl_c, CREATE)


@pytest.mark.long
@pytest.mark.parametrize(
    "between",
    [
        pytest.param((), id="update"),
        pytest.param(("refresh", "--yes", "--skip-preview"), id="refresh"),
    ],
)
def test_an_interrupted_renewal_still_drains_the_queue(
    simple_project: Project, emulator: EmulatorProcess, between: tuple[str, ...]
) -> None:
    program = simple_project.folder / "__main__.py"
    program.write_text(ROTATION % 1)
    simple_project.up()
    emulator.send_message("rejected by the listener")
    wait_until(lambda: emulator.count_queued() == 1, 60, "one message is queued")
    program.write_text(ROTATION % 2)
    emulator.hold("registerCallback")
    underway = simple_project.start(*UP)
    wait_until(emulator.is_holding, 60, "the emulator holds the call")
    assert kill_provider(underway, emulator).status != 0
    wait_until(lambda: emulator.count_calls()["registerCallback"] == 2, 60, "registerCallback is called again")
    if between:
        simple_project.pulumi(*between)
    assert REGISTERED in simple_project.up().output
    assert (emulator.count_calls()["registerCallback"], emulator.count_calls()["startCallbacks"]) == (2, 2)
    simple_project.up("--expect-no-changes")


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
@pytest.mark.parametrize(
    "interrupt",
    [press_ctrl_c_once, press_second_ctrl_c, kill_provider, kill_engine],
    ids=lambda interrupt: interrupt.__name__.replace("_", " "),
)
def test_the_next_command_reaches_the_wanted_state_after_an_interruption(
    simple_project: Project,
    emulator: EmulatorProcess,
    thingspace: ThingSpaceClient,
    interrupt: Interruption,
    step: Step,
) -> None:
    interrupt_step(simple_project, emulator, thingspace, interrupt, step)
