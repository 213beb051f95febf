"""`thingspace doctor` in a project whose stack the real engine has deployed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from thingspace_provider.lifecycle.listener_process import DetachedProcess

UNUSED_PORT = 9006  # below the range of outgoing connections; other tests take 9001 first


def diagnose(project: Project, secrets: list[str]) -> dict[str, dict[str, str]]:
    """Return the checks by name, after a check that the output has no secret."""
    printed = run(project, "--json").stdout
    has_no_secret(secrets, printed)
    return {check["name"]: check for check in json.loads(printed)["checks"]}


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


def find_failed(checks: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, check in checks.items() if check["status"] == "failed"]


@pytest.mark.long
def test_doctor_passes_for_a_deployed_stack_and_names_later_failures(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.configure("thingspace:listener", json.dumps({"kind": "local", "port": UNUSED_PORT}))
    project.up()
    for name in emulator.environment:
        if name != "THINGSPACE_BASE_URL":  # the rest is encrypted in the stack file
            del project.environment[name]
    [credential] = project.resources("CallbackCredential")
    secrets = [*(credential["outputs"][key] for key in ("password", "pathToken")), "emulator-app-secret"]
    emulator.control("DELETE", "journal")
    checks = diagnose(project, secrets)
    assert find_failed(checks) == []
    assert checks["stack"]["detail"] == "dev, secrets included"
    assert checks["password"]["detail"] == "set, from stack config thingspace:password"
    assert "overrides stack config thingspace:baseUrl" in checks["base URL"]["detail"]
    assert checks[f"registration {ACCOUNT}"]["detail"].startswith("messages go to http://127.0.0.1:")
    assert checks[f"readiness {ACCOUNT}"]["status"] == "ok"
    has_no_secret(secrets, run(project).stdout)
    assert {"registerCallback", "deregisterCallback", "smsHistory", "startCallbacks"}.isdisjoint(emulator.count_calls())

    [ours] = emulator.caller.log_in().m2m("GET", f"/callbacks/{ACCOUNT}").json()
    assert emulator.caller.m2m("DELETE", f"/callbacks/{ACCOUNT}/name/{SERVICE}").status == 200
    checks = diagnose(project, secrets)
    assert (find_failed(checks), checks[f"registration {ACCOUNT}"]["status"]) == ([], "skipped")
    assert checks[f"readiness {ACCOUNT}"]["status"] == "ok"  # the listener is up, and is probed

    emulator.caller.register(ours["url"], username=ours["username"], password=ours["password"])
    DetachedProcess(project.listener_folder / "listener.pid").stop()
    checks = diagnose(project, secrets)
    assert find_failed(checks) == ["listener", f"readiness {ACCOUNT}"]
    assert "Run `pulumi up` to start it" in checks["listener"]["hint"]
    assert "connection refused" in checks[f"readiness {ACCOUNT}"]["detail"]

    assert emulator.caller.register("https://other.example.com/x").status == 200
    checks = diagnose(project, secrets)
    assert find_failed(checks) == ["listener", f"registration {ACCOUNT}"]
    assert (
        "messages go to https://other.example.com/***, but this stack's listener is"
        in (checks[f"registration {ACCOUNT}"]["detail"])
    )
    assert checks[f"readiness {ACCOUNT}"]["status"] == "skipped"


def test_a_stack_with_unreadable_secrets_is_reported_and_the_environment_is_used(
    project: Project, emulator: EmulatorProcess
) -> None:
    project.environment["PULUMI_CONFIG_PASSPHRASE"] = "another"
    done = run(project, "--stack", "dev", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert find_failed(checks) == ["stack"]
    assert "incorrect passphrase" in checks["stack"]["detail"]
    assert "PULUMI_CONFIG_PASSPHRASE" in checks["stack"]["hint"]
    assert checks["password"]["detail"] == "set, from environment variable THINGSPACE_PASSWORD"
    assert checks[f"account {ACCOUNT}"]["status"] == "ok"  # it is in the file in plain text
    assert emulator.count_calls()["login"] == 1
