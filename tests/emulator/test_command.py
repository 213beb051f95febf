from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.emulator_process import EmulatorProcess, run
from tests.support.raw_api_client import ACCOUNT, RawApiClient
from tests.support.waiting import time_limit, wait_until


def test_first_line_has_every_setting_of_a_client() -> None:
    with EmulatorProcess() as emulator:
        assert emulator.ready == {
            "url": emulator.ready["url"],
            "appKey": "emulator-app-key",
            "appSecret": "emulator-app-secret",
            "username": "emulator-user",
            "password": "emulator-password",
            "accounts": ["0000123456-00001", "0000123456-00002", "0000987654-00001"],
        }
        assert emulator.ready["url"].endswith("/api")
        assert emulator.caller.log_in().start_callbacks().status == 200


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_the_emulator_with_exit_code_0_and_no_output(how: signal.Signals) -> None:
    with EmulatorProcess() as emulator:
        emulator.caller.log_in()
        assert emulator.end(how) == (0, "", "")


def test_an_occupied_port_is_reported_in_one_line_with_exit_code_1() -> None:
    with EmulatorProcess() as emulator:
        port = emulator.ready["url"].split(":")[2].split("/")[0]
        second = run("--port", port)
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr == (
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --port.\n"
    )


def test_a_hundred_thousand_queued_messages_fit_in_200_megabytes() -> None:
    with EmulatorProcess() as emulator:
        emulator.caller.send_message("x" * 160, repeat=100_000)
        status = Path(f"/proc/{emulator.pid}/status").read_text()
        assert int(status.split("VmRSS:")[1].split()[0]) < 200 * 1024
        assert emulator.caller.control("GET", f"queue?accountName={ACCOUNT}").json()["count"] == 100_000


def test_named_accounts_replace_the_default_ones() -> None:
    with EmulatorProcess("--account", "0000111111-00001", "--switch", "expiresIn=constant") as emulator:
        assert emulator.ready["accounts"] == ["0000111111-00001"]
        assert emulator.caller.control("GET", "switches").json()["expiresIn"] == "constant"


def test_the_output_without_json_is_readable_and_has_no_password() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "thingspace_provider.cli", "emulator", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with time_limit(process):
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    process.stdout.close()
    assert process.wait(10) == 0
    assert first.startswith("The emulator is running. Base URL: http://127.0.0.1:")
    assert "Press Ctrl-C to stop." in rest
    assert "emulator-password" not in first + rest


def test_env_prints_variables_that_a_shell_accepts(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("users: [{username: o'brien, password: $(false) x}]")
    with EmulatorProcess("--scenario", str(scenario)) as emulator:
        port = emulator.ready["url"].split(":")[2].split("/")[0]
        lines = run("env", "--port", port).stdout
        shell = subprocess.run(
            [
                "sh",
                "-c",
                f'{lines}\nprintf "%s|%s|%s" "$THINGSPACE_BASE_URL" "$THINGSPACE_USERNAME" "$THINGSPACE_PASSWORD"',
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert shell.stdout == f"{emulator.ready['url']}|o'brien|$(false) x"
        assert json.loads(run("env", "--port", port, "--json").stdout)["THINGSPACE_APP_KEY"] == "emulator-app-key"


def test_env_without_an_emulator_has_a_hint_to_start_one() -> None:
    with EmulatorProcess() as emulator:
        port = emulator.ready["url"].split(":")[2].split("/")[0]
    with socket.socket() as held:  # keeps the port occupied but silent
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", int(port)))
        result = run("env", "--port", port)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"thingspace emulator --port {port}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "65536"], "--port"),
        (["--switch", "color=red"], "unknown switch 'color'"),
        (["--switch", "expiresIn"], "NAME=VALUE"),
        (["--scenario", "/nothing.yaml"], "cannot be read"),
        (["--ca-file", "/nothing.pem"], "holds no certificate"),
        (["--account", "a", "--scenario", "b"], "Use one of them"),
    ],
)
def test_invalid_options_exit_with_code_2_and_a_hint(arguments: list[str], words: str) -> None:
    result = run("--port", "0", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in result.stderr


def test_help_shows_examples() -> None:
    assert 'eval "$(thingspace emulator env)"' in run("--help").stdout


def test_state_survives_a_restart_and_the_virtual_clock_does_not_go_back(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with EmulatorProcess("--state", str(path)) as emulator:
        client = emulator.caller.log_in()
        client.send_message("stored")
        client.register("https://hooks.example.net/sms", password="example-only")
        client.advance_clock(600)
        seconds = client.control("GET", "clock").json()["seconds"]
        assert emulator.end()[0] == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    with EmulatorProcess("--state", str(path)) as emulator:
        again = RawApiClient(emulator.ready["url"], client.access_token, client.session)
        assert again.fetch_queue() == ["stored"]
        assert again.m2m("GET", f"/callbacks/{ACCOUNT}").json()[0]["password"] == "example-only"
        assert again.control("GET", "clock").json()["seconds"] >= seconds


def test_state_is_written_while_the_emulator_runs(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with EmulatorProcess("--state", str(path)) as emulator:
        emulator.caller.send_message("stored")
        wait_until(lambda: path.exists() and "stored" in path.read_text(), 20, "the state file has the message")
        emulator.end(signal.SIGKILL)
    with EmulatorProcess("--state", str(path)) as emulator:
        assert emulator.caller.fetch_queue() == ["stored"]


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 9}', '{"version": 1, "requestIdNamespace": 5}'])
def test_an_invalid_state_file_is_rejected_and_not_changed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    result = run("--port", "0", "--state", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the state file cannot be used:")
    assert path.read_text() == content
    assert run("--port", "0", "--state", str(tmp_path / "no" / "state.json")).returncode == 1
