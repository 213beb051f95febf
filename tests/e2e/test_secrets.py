"""Search for every secret of a stack after its whole life cycle.

| Location | Secrets | Reason |
|---|---|---|
| the local listener's `settings.json`, mode 600 | LISTENER_SECRETS | not in its process title or environment |
| environment and memory of processes | the secrets that they use | |
| `/_emulator/state`, `/_emulator/connection` | the emulator's secrets | documented, for this machine only |
| Pulumi's own log with `pulumi -v` | all secrets of a stack | written by Pulumi, documented in the README |

No other location holds one: not output, state, backups, history, plans, stack files, logs, caches, temporary files,
the listener's store, log and metrics, the emulator's journal, the login guard's file, or process titles.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from tests.support.pulumi_project import Project
from tests.support.recording_proxy import run_recording_proxy
from tests.support.secret_scanner import ProcessTitles, SecretScanner
from tests.support.waiting import wait_until
from thingspace_provider.api import Credentials, Registration, ThingSpaceClient

SECRET_VALUES = {
    "app_key": "sentinel-app/key+1",
    "app_secret": "sentinel-app/secret+2?",
    "password": "sentinel password/3+é",
    "app_key_of_b": "sentinel-app/key+4",
    "app_secret_of_b": "sentinel-app/secret+5?",
    "password_of_b": "sentinel password/6+é",
    "wrong_password": "sentinel wrong/7+é",
    "own_password": "sentinel-own/8+?",
    "own_path_token": "sentinel-own-path-token-9",
    "foreign_password": "sentinel-foreign/10+?",
}
LISTENER_SECRETS = ("callback_password", "previous_callback_password", "path_token", "api_token")
ALLOWED = {"project/.thingspace/listeners/*/settings.json": LISTENER_SECRETS}
PROGRAM = """
import pulumi

from thingspace_provider.hosting import LocalListener
from thingspace_provider.resources import CallbackCredential, CallbackRegistration, SmsCallbacks

config = pulumi.Config("thingspace")
credential = CallbackCredential("credential", rotation=config.get_int("rotation"))
a, b = config.require_object("accounts")
listener = LocalListener("listener", account_names=[a, b], credential=credential)
SmsCallbacks("a", account_names=[a], listener=listener, credential=credential)
SmsCallbacks("b", account_names=[b], listener=listener, credential=credential, profile="plant_b")
given = config.require_secret_object("profiles").apply(lambda profiles: profiles["own"])
own = CallbackRegistration(
    "own",
    account_name=a,
    service_name="SMSDeliveryConfirmation",
    url=given["url"],
    username="own",
    password=given["password"],
    readiness=False,
)
pulumi.export("credential", credential.listener_settings)
pulumi.export("own", own.password)
"""


def scenario() -> str:
    """Return a scenario with two users: one configured in the environment, one in the stack file."""
    return yaml.safe_dump(
        {
            "applications": {
                SECRET_VALUES["app_key"]: SECRET_VALUES["app_secret"],
                SECRET_VALUES["app_key_of_b"]: SECRET_VALUES["app_secret_of_b"],
            },
            "accounts": [ACCOUNT, OTHER_ACCOUNT],
            "users": [
                {"username": "a", "password": SECRET_VALUES["password"], "accounts": [ACCOUNT]},
                {"username": "b", "password": SECRET_VALUES["password_of_b"], "accounts": [OTHER_ACCOUNT]},
            ],
            "switches": {"passwordAfterReregistration": "alternating"},
        }
    )


def prepare_home(folder: Path) -> dict[str, str]:
    """Return an environment that puts the files of all programs into the folder."""
    folders = {"HOME": "home", "TMPDIR": "tmp", "XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache"}
    for folder_name in folders.values():
        (folder / "user" / folder_name).mkdir(parents=True)
    return {name: str(folder / "user" / folder_name) for name, folder_name in folders.items()}


def set_up(project: Project) -> None:
    (project.folder / "__main__.py").write_text(PROGRAM)
    project.init("dev")
    project.write_stack("config:\n  thingspace:accounts: " + json.dumps([ACCOUNT, OTHER_ACCOUNT]))
    b = {"appKey": SECRET_VALUES["app_key_of_b"], "appSecret": SECRET_VALUES["app_secret_of_b"]}
    b |= {"username": "b", "password": SECRET_VALUES["password_of_b"]}
    own = {
        "url": f"https://sms.example.com/{SECRET_VALUES['own_path_token']}/x",
        "password": SECRET_VALUES["own_password"],
    }
    project.configure_secret("thingspace:profiles", json.dumps({"plant_b": b, "own": own}))


def record_generated_secrets(project: Project, secrets: SecretScanner) -> dict[str, Any]:
    """Add the generated secrets of the listener's settings, and return the settings."""
    settings: dict[str, Any] = json.loads((project.listener_folder / "settings.json").read_text())
    secrets.add(
        callback_password=settings["password"],
        previous_callback_password="".join(settings["previousPasswords"]),  # at most one
        path_token=settings["pathToken"],
        api_token=settings["apiToken"],
    )
    return settings


@pytest.fixture
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatorProcess]:
    """An emulator whose credentials are the secrets above."""
    file = tmp_path_factory.mktemp("emulator") / "scenario.yaml"
    file.write_text(scenario())
    with EmulatorProcess("--scenario", str(file)) as process:
        yield process


def cause_drift_and_failed_login(project: Project, emulator: EmulatorProcess) -> None:
    """Cause the errors with the longest output."""
    thingspace = ThingSpaceClient(
        Credentials(SECRET_VALUES["app_key"], SECRET_VALUES["app_secret"], "a", SECRET_VALUES["password"], emulator.url)
    )
    foreign_url = f"https://other.example.com/{SECRET_VALUES['own_path_token']}"
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, foreign_url, "x", SECRET_VALUES["foreign_password"]))
    project.refresh("--diff")
    project.environment["THINGSPACE_PASSWORD"] = SECRET_VALUES["wrong_password"]
    project.up("--diff", fails=True)
    project.environment["THINGSPACE_PASSWORD"] = SECRET_VALUES["password"]


@pytest.mark.long
@pytest.mark.parametrize("debug", ["", "1"], ids=["plain", "debug"])
def test_no_secret_is_found_except_where_it_must_be_stored(
    tmp_path: Path, emulator: EmulatorProcess, debug: str
) -> None:
    secrets = SecretScanner(**SECRET_VALUES)
    with run_recording_proxy(emulator.url) as between, ProcessTitles() as titles:
        project = Project(
            tmp_path, {**prepare_home(tmp_path), "THINGSPACE_BASE_URL": between.url, "THINGSPACE_DEBUG": debug}
        )
        project.environment |= {
            "THINGSPACE_APP_KEY": SECRET_VALUES["app_key"],
            "THINGSPACE_APP_SECRET": SECRET_VALUES["app_secret"],
        }
        project.environment |= {"THINGSPACE_USERNAME": "a", "THINGSPACE_PASSWORD": SECRET_VALUES["password"]}
        set_up(project)
        try:
            project.preview("--save-plan", "plan.json", "--diff")
            project.up("--diff", "--plan", "plan.json")
            record_generated_secrets(project, secrets)
            outputs = [project.export()]
            emulator.send_message("T=21.5")
            wait_until(lambda: "T=21.5" in project.fetch_stored_messages(), 60, "the listener stores 'T=21.5'")
            if debug:
                cause_drift_and_failed_login(project, emulator)
            project.configure("thingspace:rotation", "2")
            project.up("--diff")
            listener = record_generated_secrets(project, secrets)
            outputs += [
                project.export(),
                requests.get(f"http://127.0.0.1:{listener['port']}/metrics", timeout=10).text,
            ]
            if debug:
                project.preview("--save-plan", "another-plan.json")
            project.destroy("--diff")
        finally:
            project.stop_listeners()
    outputs += [json.dumps(emulator.control("GET", name)) for name in ("journal", "accounts", "users", "archive")]
    _, out, err = emulator.end()
    assert len(between.seen) >= 4  # access and session tokens of two users
    secrets.add(**{f"token_{number}": token for number, token in enumerate(sorted(between.seen))})

    assert secrets.find_in((project.listener_folder / "settings.json").read_bytes()) == set(LISTENER_SECRETS)
    assert (project.listener_folder / "settings.json").stat().st_mode & 0o077 == 0
    assert secrets.find_in_files(tmp_path, ALLOWED) == []
    assert secrets.quote_from("\n".join([*project.printed, *outputs, out, err]).encode()) == []
    assert b"pulumi.dynamic" in titles.seen
    assert secrets.find_in(titles.seen) == set()


@pytest.mark.parametrize(
    "written",
    [
        "it's sentinel key/1+é",
        "?key=sentinel%20key%2F1%2B%C3%A9",
        "key=sentinel+key%2F1%2B%C3%A9",
        json.dumps({"key": "sentinel key/1+é"}),
        "sentinel key/1+é".encode().hex(),
        *(base64.b64encode(f"{before}:sentinel key/1+é:".encode()).decode() for before in ("", "a", "ab", "user")),
    ],
)
def test_the_scanner_finds_a_secret_in_every_encoding(written: str) -> None:
    assert SecretScanner(key="sentinel key/1+é").find_in(written.encode()) == {"key"}
    assert SecretScanner(key="sentinel key/1+e").find_in(written.encode()) == set()
