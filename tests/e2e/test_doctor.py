"""`thingspace doctor` in a project whose stack the real engine brought up."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.lifecycle import listener_process

UNUSED_PORT = 9006  # below what the system gives to outgoing connections; other tests take 9001 first


def diagnose(project: Project, secrets: list[str]) -> dict[str, dict[str, str]]:
    """The steps by name, after a look that no secret is among them."""
    printed = run(project, "--json").stdout
    has_no_secret(secrets, printed)
    return {step["name"]: step for step in json.loads(printed)["steps"]}


def run(project: Project, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "thingspace_provider.cli", "doctor", *options],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def has_no_secret(secrets: list[str], printed: str) -> None:
    for secret in secrets:
        assert secret not in printed


def find_failed(steps: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, step in steps.items() if step["status"] == "failed"]


def test_a_stack_that_is_up_is_well_and_what_breaks_later_is_named(project: Project, emulator: EmulatorProcess) -> None:
    project.configure("thingspace:listener", json.dumps({"kind": "local", "port": UNUSED_PORT}))
    project.up()
    for name in emulator.environment:
        if name != "THINGSPACE_BASE_URL":  # all else is in the stack's configuration, encrypted
            del project.environment[name]
    [credential] = project.resources("CallbackCredential")
    secrets = [*(credential["outputs"][key] for key in ("password", "pathToken")), "emulator-app-secret"]
    emulator.control("DELETE", "journal")
    steps = diagnose(project, secrets)
    assert find_failed(steps) == []
    assert steps["stack"]["what"] == "dev, secrets included"
    assert steps["password"]["what"] == "set, from stack config thingspace:password"
    assert "which overrides stack config thingspace:baseUrl" in steps["base URL"]["what"]
    assert steps[f"registration {ACCOUNT}"]["what"].startswith("texts go to http://127.0.0.1:")
    assert steps[f"proof {ACCOUNT}"]["status"] == "ok"
    has_no_secret(secrets, run(project).stdout)
    assert {"registerCallback", "deregisterCallback", "smsHistory", "startCallbacks"}.isdisjoint(emulator.count_calls())

    [ours] = emulator.caller.log_in().m2m("GET", f"/callbacks/{ACCOUNT}").json()
    assert emulator.caller.m2m("DELETE", f"/callbacks/{ACCOUNT}/name/{SERVICE}").status == 200
    steps = diagnose(project, secrets)
    assert (find_failed(steps), steps[f"registration {ACCOUNT}"]["status"]) == ([], "skipped")
    assert steps[f"proof {ACCOUNT}"]["status"] == "ok"  # the listener is up, and is asked all the same

    emulator.caller.register(ours["url"], username=ours["username"], password=ours["password"])
    listener_process.stop(project.listener_folder / "listener.pid")
    steps = diagnose(project, secrets)
    assert find_failed(steps) == ["listener", f"proof {ACCOUNT}"]
    assert "`pulumi up` starts it" in steps["listener"]["remedy"]
    assert "connection refused" in steps[f"proof {ACCOUNT}"]["what"]

    assert emulator.caller.register("https://elsewhere.example.com/x").status == 200
    steps = diagnose(project, secrets)
    assert find_failed(steps) == ["listener", f"registration {ACCOUNT}"]
    assert (
        "texts go to https://elsewhere.example.com/x, and this stack's listener is"
        in (steps[f"registration {ACCOUNT}"]["what"])
    )
    assert steps[f"proof {ACCOUNT}"]["status"] == "skipped"


def test_a_stack_with_unreadable_secrets_is_reported_and_the_environment_is_used(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.environment["PULUMI_CONFIG_PASSPHRASE"] = "another"
    done = run(project, "--stack", "dev", "--json")
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert find_failed(steps) == ["stack"]
    assert "incorrect passphrase" in steps["stack"]["what"]
    assert "PULUMI_CONFIG_PASSPHRASE" in steps["stack"]["remedy"]
    assert steps["password"]["what"] == "set, from environment variable THINGSPACE_PASSWORD"
    assert steps[f"account {ACCOUNT}"]["status"] == "ok"  # it is in the file in clear
    assert emulator.count_calls()["login"] == 1
