"""`thingspace doctor` names the failed check and its fix, sends at most one login, and prints no secret."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from tests.support.callback_servers import create_tls_context, reserve_closed_port, run_callback_server
from tests.support.emulator_process import ACCOUNT, OTHER_ACCOUNT, SERVICE, EmulatorProcess
from thingspace_provider.cli import main
from thingspace_provider.cli.doctor_checks import environment, thingspace

TOP = Path(__file__).resolve().parent.parent.parent
SECRETS = ("emulator-app-key", "emulator-app-secret", "emulator-password", "sentinel")


@dataclass
class Diagnosis:
    """Status and text (detail and hint) of each check, by name."""

    exit_code: int
    status: dict[str, str]
    check_lines: dict[str, str]

    @property
    def failed(self) -> list[str]:
        return [name for name, status in self.status.items() if status == "failed"]


@pytest.fixture(autouse=True)
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: EmulatorProcess) -> None:
    """A folder without a project, and an environment that points at the emulator."""
    monkeypatch.chdir(tmp_path)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)


def diagnose(*options: str) -> Diagnosis:
    done = CliRunner().invoke(main, ["doctor", "--json", *options])
    assert done.exit_code in {0, 1}, done.output
    has_no_secret(done.output)
    document = json.loads(done.output)
    checks = document["checks"]
    assert document["ok"] == (done.exit_code == 0)
    assert all(check["hint"] for check in checks if check["status"] == "failed")
    return Diagnosis(
        done.exit_code,
        {check["name"]: check["status"] for check in checks},
        {check["name"]: f"{check['detail']} {check['hint']}" for check in checks},
    )


def has_no_secret(output: str) -> None:
    for secret in SECRETS:
        assert secret not in output


def test_each_check_of_a_healthy_chain_is_ok_and_the_calls_are_counted(emulator: EmulatorProcess) -> None:
    diagnosis = diagnose("--account", ACCOUNT, "--account", OTHER_ACCOUNT)
    assert diagnosis.exit_code == 0
    assert [name for name, status in diagnosis.status.items() if status == "ok"] == [
        *("python", "packages", "pulumi CLI", "language host", "sqlite"),
        *("app key", "app secret", "username", "password", "base URL", "limits"),
        *("dns", "connect", "login guard", "token", "login"),
        *(f"account {ACCOUNT}", f"account {OTHER_ACCOUNT}", "logout"),
    ]
    assert diagnosis.check_lines["username"] == "emulator-user, from environment variable THINGSPACE_USERNAME "
    assert "messages stay in ThingSpace's queue" in diagnosis.check_lines[f"registration {ACCOUNT}"]
    sent = emulator.count_calls()
    del sent["unrouted"]  # the request that shows the connection
    assert sent == {"token": 1, "login": 1, "listCallbacks": 2, "logout": 1}


def test_the_text_output_has_the_same_checks_with_hints_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_APP_SECRET", "")
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert (
        "failed   app secret: missing\n"
        "         -> Set THINGSPACE_APP_SECRET, or run `pulumi config set --secret thingspace:appSecret`.\n"
    ) in done.output
    assert "skipped  token: the credentials are incomplete\n" in done.output
    assert "ok       connect: " in done.output  # needs no credentials
    has_no_secret(done.output)


def test_a_wrong_password_costs_one_login_and_the_next_diagnosis_none(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_PASSWORD", "sentinel-wrong")
    first = diagnose("--account", ACCOUNT)
    assert first.failed == ["login"]
    assert "Five failed logins in a row lock the user" in first.check_lines["login"]
    assert first.status[f"account {ACCOUNT}"] == "skipped"
    again = diagnose("--account", ACCOUNT)
    assert again.failed == ["login guard"]
    assert "failed logins in a row from this machine: 1; probably 4 left" in again.check_lines["login guard"]
    assert "THINGSPACE_LOGIN_OVERRIDE=1" in again.check_lines["login guard"]
    assert again.status["token"] == "ok"
    assert "see login guard" in again.check_lines["login"]
    assert emulator.count_calls()["login"] == 1
    monkeypatch.setenv("THINGSPACE_PASSWORD", emulator.ready["password"])
    right = diagnose()
    assert "this password was not rejected" in right.check_lines["login guard"]
    assert right.exit_code == 0


def test_a_locked_user_gets_a_hint_to_verizon_support(emulator: EmulatorProcess) -> None:
    state = emulator.control("GET", "state")
    state["users"]["emulator-user"] |= {"failedLogins": 5, "locked": True}
    emulator.control("PUT", "state", state)
    diagnosis = diagnose()
    assert diagnosis.failed == ["login"]
    assert "only Verizon support can unlock" in diagnosis.check_lines["login"]
    assert emulator.count_calls()["login"] == 1


def test_a_rejected_session_does_not_cost_a_second_login(emulator: EmulatorProcess) -> None:
    expired = {"errorCode": "UnifiedWebService.REQUEST_FAILED.SessionToken.Expired", "errorMessage": "expired"}
    emulator.add_fault("listCallbacks", 400, expired)
    diagnosis = diagnose("--account", ACCOUNT, "--account", OTHER_ACCOUNT)
    assert diagnosis.failed == [f"account {ACCOUNT}", f"account {OTHER_ACCOUNT}"]
    assert "second login blocked" in diagnosis.check_lines[f"account {ACCOUNT}"]
    assert emulator.count_calls()["login"] == 1


def test_a_login_without_an_answer_is_not_repeated(emulator: EmulatorProcess) -> None:
    emulator.add_fault("login", 500, {}, times=5)
    assert diagnose().failed == ["login"]
    assert emulator.count_calls()["login"] == 1


def test_a_wrong_application_secret_fails_the_token_and_sends_no_login(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_APP_SECRET", "sentinel-wrong")
    diagnosis = diagnose()
    assert diagnosis.failed == ["token"]
    assert "THINGSPACE_APP_KEY and THINGSPACE_APP_SECRET" in diagnosis.check_lines["token"]
    assert emulator.count_calls()["login"] == 0


def test_a_secret_that_a_server_echoes_is_redacted(emulator: EmulatorProcess) -> None:
    echo = {"error": "invalid_client", "error_description": "no client with emulator-app-secret"}
    emulator.add_fault("token", 401, echo)
    assert 'no client with ***"' in diagnose().check_lines["token"]


def test_an_unknown_account_is_named_and_the_others_are_checked() -> None:
    diagnosis = diagnose("--account", "0000000000-99999", "--account", "login", "--account", ACCOUNT)
    assert diagnosis.failed == ["account 0000000000-99999", "account login"]
    assert "Could not find account login" in diagnosis.check_lines["account login"]
    assert "with its leading zeros" in diagnosis.check_lines["account 0000000000-99999"]
    assert diagnosis.status[f"account {ACCOUNT}"] == "ok"


def test_a_name_that_does_not_resolve_is_distinguished_from_a_connection_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", "https://thingspace.invalid/api")
    diagnosis = diagnose()
    assert diagnosis.failed == ["dns"]
    assert "thingspace.invalid does not resolve" in diagnosis.check_lines["dns"]
    monkeypatch.setenv("THINGSPACE_BASE_URL", f"http://127.0.0.1:{reserve_closed_port()}/api")
    diagnosis = diagnose()
    assert diagnosis.failed == ["connect"]
    assert "connection refused" in diagnosis.check_lines["connect"]
    assert diagnosis.status["token"] == "skipped"


def test_a_server_that_never_responds_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thingspace, "RESPONSE_TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("THINGSPACE_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        diagnosis = diagnose()
    assert diagnosis.failed == ["connect"]
    assert "within 0.3 s" in diagnosis.check_lines["connect"]


def test_a_certificate_that_is_not_trusted_fails_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_callback_server(context=create_tls_context(trustme.CA().issue_cert("localhost"))) as https:
        monkeypatch.setenv("THINGSPACE_BASE_URL", https.url("localhost", "/api"))
        diagnosis = diagnose()
    assert diagnosis.failed == ["connect"]
    assert "the TLS connection is not trusted" in diagnosis.check_lines["connect"]


class Page(BaseHTTPRequestHandler):
    """A proxy's page in place of the requested resource."""

    def do_GET(self) -> None:
        page = b"<html><title>Sign in to the network</title></html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.wfile.write(page)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serve_page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/api"
        running.shutdown()


def test_a_page_in_thingspaces_place_fails_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_page() as url:
        monkeypatch.setenv("THINGSPACE_BASE_URL", url)
        diagnosis = diagnose()
    assert diagnosis.failed == ["token"]
    assert "no proxy responds in place of ThingSpace" in diagnosis.check_lines["token"]


def test_no_request_is_sent_to_an_address_that_would_receive_credentials_in_plain_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", "http://thingspace.example.com/api")
    diagnosis = diagnose()
    assert diagnosis.failed == ["base URL"]
    assert "unencrypted" in diagnosis.check_lines["base URL"]
    assert diagnosis.status["connect"] == "skipped"


def test_a_password_that_cannot_be_sent_is_named_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", f"http://127.0.0.1:{reserve_closed_port()}/api")
    monkeypatch.setenv("THINGSPACE_PASSWORD", os.fsdecode(b"\xff"))
    diagnosis = diagnose()
    assert diagnosis.failed == ["credentials", "connect"]
    assert "THINGSPACE_PASSWORD" in diagnosis.check_lines["credentials"]
    assert diagnosis.status["login"] == "skipped"


def test_a_password_in_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_BASE_URL", f"http://user:sentinel@127.0.0.1:{reserve_closed_port()}/api")
    diagnosis = diagnose()
    assert diagnosis.failed == ["connect"]
    assert "http://user:***@127.0.0.1" in diagnosis.check_lines["connect"]


def test_a_limit_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_RESOURCE_TIMEOUT_SECONDS", "soon")
    diagnosis = diagnose()
    assert diagnosis.failed == ["limits"]
    assert "THINGSPACE_RESOURCE_TIMEOUT_SECONDS" in diagnosis.check_lines["limits"]


def test_a_profile_is_tried_with_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINGSPACE_PLANT_A_APP_KEY", "sentinel-key")
    diagnosis = diagnose("--profile", "plant_a")
    assert diagnosis.failed == ["app secret", "username", "password"]
    assert "THINGSPACE_PLANT_A_PASSWORD" in diagnosis.check_lines["password"]
    assert diagnosis.check_lines["profile plant_a"].startswith("incomplete: appSecret, username, password missing")


def test_a_registration_that_was_made_by_hand_is_shown_without_its_token(emulator: EmulatorProcess) -> None:
    url = "https://sms.example.com/sentinel-a-long-path-token/x"
    assert emulator.caller.log_in().register(url, password="sentinel-password").status == 200
    assert SERVICE in (diagnosis := diagnose("--account", ACCOUNT)).check_lines[f"account {ACCOUNT}"]
    assert diagnosis.check_lines[f"registration {ACCOUNT}"] == "messages go to https://sms.example.com/***/*** "
    assert diagnosis.status[f"readiness {ACCOUNT}"] == "skipped"  # without a stack the listener is unknown


@pytest.mark.parametrize(("readiness", "status"), [("", "failed"), (", readiness: false", "skipped")])
def test_an_external_listener_is_probed_unless_the_stack_has_no_readiness(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, readiness: str, status: str
) -> None:
    url = "https://sms.invalid/x"
    assert emulator.caller.log_in().register(url, username="u", password="sentinel-password").status == 200
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(
        f"config:\n  thingspace:accounts: ['{ACCOUNT}']\n"
        f"  thingspace:listener: {{kind: external, url: '{url}'{readiness}}}\n"
    )
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert diagnose("--stack", "dev").status[f"readiness {ACCOUNT}"] == status


def test_a_listener_on_kubernetes_has_its_package_and_its_url_checked(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The store is encrypted, and nothing decrypts it here."""
    emulator.caller.log_in().register("https://sms.invalid/x", username="u", password="sentinel-password")
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(
        f"config:\n  thingspace:accounts: ['{ACCOUNT}']\n  thingspace:listener:\n    kind: kubernetes\n"
        "    image: listener:1\n    host: sms.example.com\n    store: {secure: v1:abcdefgh:ijklmnop=}\n"
    )
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    diagnosis = diagnose("--stack", "dev")
    assert diagnosis.check_lines["settings"].startswith("accounts: 1; listener: kubernetes")
    expected = "but this stack's URL is https://sms.example.com/callbacks/***"
    assert expected in diagnosis.check_lines[f"registration {ACCOUNT}"]
    assert "listener" not in diagnosis.status
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pulumi_kubernetes" else ...)
    assert diagnose("--stack", "dev").status["listener"] == "failed"


# A stand-in for apsw: an old SQLite cannot be installed beside the new one.
@pytest.mark.parametrize(("version", "status"), [("3.7.0", "failed"), ("3.51.2", "failed"), ("3.51.3", "ok")])
def test_a_sqlite_with_the_wal_reset_bug_is_named(monkeypatch: pytest.MonkeyPatch, version: str, status: str) -> None:
    monkeypatch.setitem(sys.modules, "apsw", types.SimpleNamespace(sqlite_lib_version=lambda: version))
    diagnosis = diagnose()
    assert diagnosis.status["sqlite"] == status
    assert version in diagnosis.check_lines["sqlite"]
    assert "WAL-reset bug" in diagnosis.check_lines["sqlite"]


def test_an_unexpected_exception_is_a_failed_check_without_its_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emulator: EmulatorProcess
) -> None:
    (tmp_path / "apsw.py").write_text("raise RuntimeError('sentinel, as an error may quote')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for form in ([], ["--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "thingspace_provider.cli", "doctor", *form],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "unexpected RuntimeError in apsw.py line 1" in done.stdout
        assert "Traceback" not in done.stderr
        has_no_secret(done.stdout + done.stderr)
    assert emulator.count_calls()["login"] == 2  # the other checks ran


def write_pulumi_script(folder: Path, script: str) -> Path:
    """A program called pulumi."""
    program = folder / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program.parent


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo v3.138.0", "3.139.0 or newer is required"),
        ("echo sentinel >&2; exit 3", "***"),
        ("exec sleep 60", "timed out after 0.5 s"),
    ],
)
def test_an_unusable_pulumi_cli_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, expected: str
) -> None:
    monkeypatch.setenv("THINGSPACE_PLANT_A_PASSWORD", "sentinel")
    if "sleep" in script:
        monkeypatch.setattr(environment, "COMMAND_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setenv("PATH", f"{write_pulumi_script(tmp_path, script)}:/usr/bin:/bin")
    diagnosis = diagnose()
    assert "pulumi CLI" in diagnosis.failed
    assert expected in diagnosis.check_lines["pulumi CLI"]
    assert diagnosis.status["login"] == "ok"


def test_without_the_pulumi_cli_the_stack_file_gives_its_plain_text_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(TOP / "stacks", tmp_path / "stacks")
    shutil.copy(TOP / "Pulumi.yaml", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("THINGSPACE_PASSWORD", "")
    diagnosis = diagnose("--stack", "dev")
    assert diagnosis.failed == ["pulumi CLI", "password"]
    assert "encrypted in the stack file, and cannot be decrypted here" in diagnosis.check_lines["password"]
    assert "overrides stack config thingspace:username" in diagnosis.check_lines["username"]
    assert diagnosis.check_lines["settings"].startswith("accounts: 1; listener: local")
    assert diagnosis.status[f"account {ACCOUNT}"] == "skipped"  # known from the file


def test_a_stack_of_a_program_that_uses_the_resources_directly_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  thingspace:callsPerSecond: 20\n")
    monkeypatch.setenv("PATH", write_pulumi_script(tmp_path, "exit 1").as_posix())
    folder = tmp_path / ".thingspace" / "listeners" / "dev-own"
    folder.mkdir(parents=True)
    diagnosis = diagnose("--stack", "dev", "--account", ACCOUNT)
    assert diagnosis.failed == ["pulumi CLI"]
    assert "listener" not in diagnosis.status
    (folder / "settings.json").write_text(json.dumps({"accounts": [ACCOUNT], "host": "127.0.0.1", "port": 9}))
    assert "is not running" in diagnose("--stack", "dev").check_lines["listener"]
    assert diagnosis.status["settings"] == "skipped"
    assert diagnosis.check_lines["settings"].startswith("accounts and listener are not checked")
    assert "20 calls a second" in diagnosis.check_lines["limits"]
    assert diagnosis.status[f"account {ACCOUNT}"] == "ok"


@pytest.mark.parametrize("options", [["--stack", "dev"], ["--profile", "listener"], ["--nonsense"]])
def test_wrong_usage_is_distinguished_from_a_failed_check(options: list[str]) -> None:
    assert CliRunner().invoke(main, ["doctor", *options]).exit_code == 2
