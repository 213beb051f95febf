"""Process of the listener: start, output, PID file and exit."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.listener_process import (
    ACCOUNT,
    API_TOKEN,
    COMMAND,
    PASSWORD,
    PATH_TOKEN,
    PREVIOUS,
    ListenerProcess,
    NotReady,
    build_text_callback,
    clean_environment,
)
from tests.support.waiting import time_limit

Start = Callable[..., ListenerProcess]


def run(*options: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        env=clean_environment(**(environment or {})),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def is_locked(file: Path) -> bool:
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_first_line_has_the_callback_url_of_each_account(start: Start) -> None:
    listener = start(accounts=[ACCOUNT, "a/b"], publicUrl="https://sms.example.com/inbox/")
    assert listener.ready == {
        "url": f"http://127.0.0.1:{listener.port}",
        "adminUrl": f"http://127.0.0.1:{listener.port}",
        "callbackUrls": {
            ACCOUNT: f"https://sms.example.com/inbox/callbacks/{PATH_TOKEN}/{ACCOUNT}",
            "a/b": f"https://sms.example.com/inbox/callbacks/{PATH_TOKEN}/a%2Fb",
        },
    }
    assert listener.post(build_text_callback(), listener.path("a%2Fb")).status_code == 200
    assert listener.messages()[0]["account"] == "a/b"


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_with_status_0_despite_an_idle_connection(start: Start, order: signal.Signals) -> None:
    listener = start(sourceAddressPolicy="off")
    listener.post(build_text_callback())
    with socket.create_connection(("127.0.0.1", listener.port), 20) as idle:
        listener.process.send_signal(order)
        assert idle.recv(1) == b""  # let go long before IDLE_SECONDS are over
        assert listener.process.wait(20) == 0
    events = [json.loads(line)["event"] for line in listener.log.read_text().splitlines()]
    assert events == ["listener_started", "listener_stopped"]


def test_the_pid_file_is_locked_as_long_as_the_process_lives(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "listener.pid"
    listener = start("--pid-file", str(file))
    assert int(file.read_text()) == listener.process.pid
    assert is_locked(file)
    listener.kill()
    assert not is_locked(file)
    assert start("--pid-file", str(file)).stop() == 0
    assert not is_locked(file)


def test_a_second_process_on_the_same_pid_file_reports_it_and_ends(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "listener.pid"
    first = start("--pid-file", str(file))
    with pytest.raises(AssertionError, match=r"Error: a listener with the pid file .* is running already"):
        start("--pid-file", str(file))
    assert int(file.read_text()) == first.process.pid


def test_two_listeners_do_not_share_a_store(start: Start) -> None:
    start()
    with pytest.raises(AssertionError, match=r"Error: .* is the store of a running listener"):
        start()


def test_an_occupied_port_is_one_line_and_status_1(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError) as ended:
            start(port=port)
    assert f"127.0.0.1:{port}: Address already in use" in str(ended.value)
    assert len([line for line in (tmp_path / "listener.log").read_text().splitlines() if line]) == 1


def test_start_fails_with_the_needed_number_when_the_limit_of_open_files_is_too_low(start: Start) -> None:
    with pytest.raises(NotReady, match=r"limit of open files is 64, .* needs 128 or more"):
        start(before=("sh", "-c", 'ulimit -n 64 && exec "$@"', "sh"))
    listener = start(before=("sh", "-c", 'ulimit -n 128 && exec "$@"', "sh"))
    assert listener.post(build_text_callback()).status_code == 200


def test_the_text_output_holds_no_secret(tmp_path: Path) -> None:
    settings = {
        "THINGSPACE_LISTENER_ACCOUNTS": f" {ACCOUNT} ,0000123456-00002",
        "THINGSPACE_LISTENER_USERNAME": "plant-a",
        "THINGSPACE_LISTENER_PASSWORD": PASSWORD,
        "THINGSPACE_LISTENER_PREVIOUS_PASSWORDS": json.dumps([PREVIOUS]),
        "THINGSPACE_LISTENER_PATH_TOKEN": PATH_TOKEN,
        "THINGSPACE_LISTENER_API_TOKEN": API_TOKEN,
        "THINGSPACE_LISTENER_STORE": f"sqlite:///{tmp_path / 'inbox.sqlite3'}",
    }
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"],
        env=clean_environment(PYTHONUNBUFFERED="1", **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    lines: list[str] = []
    with time_limit(process):
        while not lines or "Ctrl+C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1]
        process.send_signal(signal.SIGINT)
        lines.append(process.stdout.read())
    process.stdout.close()
    assert process.wait(60) == 0
    output = "".join(lines)
    assert ACCOUNT in output
    for secret in (PASSWORD, PREVIOUS, PATH_TOKEN, API_TOKEN):
        assert secret not in output


def test_missing_settings_are_all_named_with_both_origins_and_an_example() -> None:
    ended = run()
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert [line.split()[1] for line in lines] == ["accounts", "username", "password", "pathToken", "store"]
    for line in lines:
        assert " in the settings file or THINGSPACE_LISTENER_" in line
        assert "Example: " in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "accounts: [0000123456]",
            "accounts[0] (settings file {file}): 42798 is a number, and a number has no leading",
        ),
        ("accounts: 17", "accounts (settings file {file}): must be a list, not a number"),
        ("password: 12345678", "password (settings file {file}): must be text, not a number: quote it"),
        ("password: sh0rt-p4ssw0rd!", "password (settings file {file}): is too easy to guess: use 16 to 40 characters"),
        ("password: password-password-1", "password (settings file {file}): is too easy to guess"),
        ("password: aaaabbbbccccdddd", "password (settings file {file}): is too easy to guess"),
        ("pathToken: short", "pathToken (settings file {file}): must be 16 to 200 letters"),
        ("store: mysql://here", "store (settings file {file}): must be sqlite:/// followed by the path"),
        ("port: 99999", "port (settings file {file}): must be a whole number from 0 to 65535"),
        ("publicUrl: sms.example.com", "publicUrl (settings file {file}): it must begin with http:// or https://"),
        ("pasword: x", "pasword (settings file {file}) is not a setting: did you mean password?"),
        ("password: [a, b", "settings file {file} is not valid YAML"),
        ('{"password": "s3cret-of-mine" "b"}', "settings file {file} is not valid JSON (line 1, column 31)"),
        ("- a", "settings file {file} must hold a mapping"),
    ],
)
def test_error_has_key_and_origin_and_no_secret_when_a_setting_is_invalid(
    tmp_path: Path, content: str, expected: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    ended = run("--settings", str(file))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"Error: {expected.format(file=file)}" in ended.stderr
    assert "s3cret-of-mine" not in ended.stderr
    assert "12345678" not in ended.stderr


def test_the_environment_wins_over_the_file_and_an_option_over_both(start: Start, tmp_path: Path) -> None:
    listener = start()
    assert listener.stop() == 0
    listener.write(accounts=["of the file"], port=1)
    chosen = tmp_path / "chosen.sqlite3"
    with subprocess.Popen(
        [*COMMAND, "--settings", str(listener.file), "--json", "--port", "0", "--store", f"sqlite:///{chosen}"],
        env=clean_environment(
            THINGSPACE_LISTENER_ACCOUNTS=ACCOUNT, THINGSPACE_LISTENER_STORE=f"sqlite:///{tmp_path / 'other.sqlite3'}"
        ),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        with time_limit(process):
            ready = json.loads(process.stdout.readline())
        process.terminate()
    assert list(ready["callbackUrls"]) == [ACCOUNT]
    assert chosen.exists()
    assert not (tmp_path / "other.sqlite3").exists()
