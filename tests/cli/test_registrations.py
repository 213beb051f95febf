"""`thingspace registrations` lists what is registered, changes nothing, and writes a stack file that takes it over."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from thingspace_provider.api import Registration, ThingSpaceClient
from thingspace_provider.cli import main
from thingspace_provider.config.stack_linter import lint_files

URL = "https://hooks.example.com/sms"


@pytest.fixture(autouse=True)
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: EmulatorProcess) -> None:
    """A folder without a project, and an environment that points at the emulator."""
    monkeypatch.chdir(tmp_path)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)


def run(*options: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["registrations", *options])
    assert done.exit_code == status, done.output
    assert "example-only" not in done.output
    return done


def rows(*options: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(run("--json", *options).stdout)["registrations"]
    return listed


def register(thingspace: ThingSpaceClient, account: str, url: str, service: str = SERVICE) -> None:
    thingspace.register_callback(account, Registration(service, url, "plant-a", "example-only"))


def test_registrations_are_listed_with_masked_urls_and_nothing_changes(
    emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    register(thingspace, ACCOUNT, f"{URL}/{ACCOUNT}")
    register(thingspace, ACCOUNT, URL, "CarrierService")
    before = thingspace.list_callbacks(ACCOUNT)
    assert rows("--account", ACCOUNT, "--account", OTHER_ACCOUNT) == [
        {
            "account": ACCOUNT,
            "service": SERVICE,
            "endpoint": f"https://hooks.example.com/***/{ACCOUNT}",
            "username": "plant-a",
            "stack": "",
        },
        {
            "account": ACCOUNT,
            "service": "CarrierService",
            "endpoint": "https://hooks.example.com/***",
            "username": "plant-a",
            "stack": "another service: `pulumi up` leaves it",
        },
        {
            "account": OTHER_ACCOUNT,
            "service": SERVICE,
            "endpoint": "",
            "username": "",
            "stack": "not registered: `pulumi up` registers the listener",
        },
    ]
    assert thingspace.list_callbacks(ACCOUNT) == before
    assert emulator.count_calls()["registerCallback"] == 2


def test_table_has_one_line_for_each_registration(thingspace: ThingSpaceClient) -> None:
    register(thingspace, ACCOUNT, URL)
    lines = run("--account", ACCOUNT).output.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["ACCOUNT", "SERVICE", "URL"],
        [ACCOUNT, SERVICE, "https://hooks.example.com/***"],
    ]


@pytest.mark.parametrize(
    ("url", "note"),
    [
        (f"{URL}/invented-token/{{account}}", "the URL of the stack"),
        (f"{URL}/{{path_token}}/{{account}}", "the URL of the stack, if its path token is that of the stack"),
        (f"{URL}/{{account}}", "another URL: `pulumi up` takes it over with adopt"),
    ],
)
def test_registration_is_compared_with_the_listener_of_the_stack(
    url: str, note: str, tmp_path: Path, thingspace: ThingSpaceClient
) -> None:
    register(thingspace, ACCOUNT, f"{URL}/invented-token/{ACCOUNT}")
    (tmp_path / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
    config = {"thingspace:accounts": [ACCOUNT], "thingspace:listener": {"kind": "external", "url": url}}
    (tmp_path / "Pulumi.test.yaml").write_text(yaml.safe_dump({"config": config}))
    [row] = rows("--stack", "test")
    assert row["stack"] == note


def test_written_stack_file_is_valid_private_and_names_the_registered_url(
    tmp_path: Path, thingspace: ThingSpaceClient
) -> None:
    for account in (ACCOUNT, OTHER_ACCOUNT):
        register(thingspace, account, f"{URL}/{account}")
    file = tmp_path / "Pulumi.test.yaml"
    options = ("--account", ACCOUNT, "--account", OTHER_ACCOUNT, "--write-stack-file", str(file))
    assert f"Written: {file}" in run(*options).output
    config = yaml.safe_load(file.read_text())["config"]
    assert config == {
        "thingspace:accounts": [ACCOUNT, OTHER_ACCOUNT],
        "thingspace:listener": {"kind": "external", "url": f"{URL}/{{account}}", "readiness": False},
        "thingspace:adopt": True,
    }
    assert [finding.message for finding in lint_files([file])[0] if "adopt" not in finding.message] == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "exists" in run(*options, status=2).output


def test_stack_file_is_not_written_when_the_urls_have_no_common_form(
    tmp_path: Path, thingspace: ThingSpaceClient
) -> None:
    register(thingspace, ACCOUNT, URL)
    register(thingspace, OTHER_ACCOUNT, "https://other.example.com/sms")
    file = tmp_path / "Pulumi.test.yaml"
    output = run("--account", ACCOUNT, "--account", OTHER_ACCOUNT, "--write-stack-file", str(file), status=1).output
    assert "a stack has one" in output
    assert not file.exists()


def test_stack_file_that_cannot_be_written_is_an_error(tmp_path: Path, thingspace: ThingSpaceClient) -> None:
    register(thingspace, ACCOUNT, URL)
    (tmp_path / "Pulumi.test.yaml").symlink_to("/absent/file")
    output = run("--account", ACCOUNT, "--write-stack-file", str(tmp_path / "Pulumi.test.yaml"), status=1).output
    assert "cannot be written" in output


def test_stack_file_is_not_written_when_nothing_is_registered(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.test.yaml"
    assert "no account" in run("--account", ACCOUNT, "--write-stack-file", str(file), status=1).output
    assert not file.exists()


def test_missing_credentials_end_the_command_before_a_request(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THINGSPACE_PASSWORD")
    assert "THINGSPACE_PASSWORD" in run("--account", ACCOUNT, status=1).output
    assert not emulator.count_calls()


def test_rejected_login_is_one_error_and_is_not_repeated(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_PASSWORD", "a-wrong-password")
    for _ in range(2):
        run("--account", ACCOUNT, status=1)
    assert emulator.count_calls()["login"] == 1


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--account", ""),
        ("--stack", "dev"),
        ("--profile", "no name"),
        ("--account", ACCOUNT, "--write-stack-file", "absent/Pulumi.test.yaml"),
    ],
)
def test_wrong_use_exits_with_2(options: tuple[str, ...]) -> None:
    run(*options, status=2)
