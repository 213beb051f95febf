"""Operation: metrics, log, settings reload, and the check before a start."""

from __future__ import annotations

import json
import os
import re
import signal
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
    build_settings,
    build_text_callback,
    clean_environment,
)
from tests.support.waiting import time_limit, wait_until
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import load_settings

Start = Callable[..., ListenerProcess]
SECRETS = (PASSWORD, PREVIOUS, PATH_TOKEN, API_TOKEN, "a confidential message")


def read_events(listener: ListenerProcess) -> list[str]:
    return [json.loads(line)["event"] for line in listener.log.read_text().splitlines()]


def reload_settings(listener: ListenerProcess, **changes: object) -> None:
    listener.write(**changes)
    before = len(read_events(listener))
    listener.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(read_events(listener)) > before, 60, "the listener logs the reload")


def test_metrics_count_stored_and_rejected_callbacks_without_devices_or_accounts(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("a confidential message"))
    listener.post(build_text_callback(smsMessage=None))
    listener.post(build_text_callback(password="wrong"))
    listener.post(b"no json")
    metrics = listener.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for line in (
        'thingspace_callbacks_stored_total{kind="text"} 1.0',
        'thingspace_callbacks_stored_total{kind="sent"} 1.0',
        'thingspace_callbacks_rejected_total{reason="invalid_credential"} 1.0',
        'thingspace_callbacks_rejected_total{reason="malformed"} 1.0',
        "thingspace_callbacks_per_commit_sum 2.0",
        "thingspace_commit_queue_length 0.0",
    ):
        assert line in metrics.text.splitlines()
    for secret in (*SECRETS, ACCOUNT):
        assert secret not in metrics.text


def test_the_log_has_each_rejection_once_and_no_message_and_no_secret(start: Start) -> None:
    listener = start()
    for number in range(5):
        listener.post(build_text_callback(f"{number} a confidential message", password=f"wrong-{number}"))
        listener.post(build_text_callback("a confidential message"), f"/callbacks/{PATH_TOKEN}x/{number}")
        listener.post(b'{"password": "' + PASSWORD.encode())
    listener.stop()
    lines = [json.loads(line) for line in listener.log.read_text().splitlines()]
    rejections = [(line["reason"], line["account"], line["client"]) for line in lines if "reason" in line]
    assert rejections == [
        ("invalid_credential", ACCOUNT, "127.0.0.1"),
        ("not_found", None, "127.0.0.1"),
        ("malformed", ACCOUNT, "127.0.0.1"),
    ]
    for secret in (*SECRETS, "wrong-"):
        assert secret not in listener.log.read_text()


def test_new_credentials_are_reloaded_without_a_restart_and_without_rejecting_the_old(start: Start) -> None:
    listener = start(previousPasswords=None)
    reload_settings(listener, password="invented-password-2", previousPasswords=[PASSWORD], accounts=[ACCOUNT, "new"])
    assert listener.post(build_text_callback("with the new", password="invented-password-2")).status_code == 200
    assert listener.post(build_text_callback("with the old")).status_code == 200
    assert listener.post(build_text_callback("of a new account"), listener.path("new")).status_code == 200
    reload_settings(listener, password="invented-password-2", previousPasswords=None, apiToken="another-api-token")
    assert listener.post(build_text_callback("too late")).status_code == 403
    assert listener.get("/v1/messages", Authorization=f"Bearer {API_TOKEN}").status_code == 401
    assert len(listener.fetch_page(token="another-api-token")["messages"]) == 3


@pytest.mark.parametrize("given", [["older", "oldest"], ["older", "", "oldest"]])
def test_every_previous_password_is_accepted(start: Start, given: object) -> None:
    listener = start(previousPasswords=given)
    for password, status in ((PASSWORD, 200), ("older", 200), ("oldest", 200), ("", 403), ("old", 403)):
        assert listener.post(build_text_callback("a text", password=password)).status_code == status


@pytest.mark.parametrize("given", ['["sentinel"', [7], {"sentinel": 1}])
def test_an_invalid_previous_password_is_reported_without_its_value(tmp_path: Path, given: object) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(build_settings(tmp_path, previousPasswords=given)))
    with pytest.raises(InvalidSettings, match="previousPasswords") as bad:
        load_settings(file, {}, {})
    assert "sentinel" not in str(bad.value)


def test_in_the_environment_several_previous_passwords_are_json(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(build_settings(tmp_path)))
    for value, passwords in (('["one"]', ("one",)), ('["one", "other"]', ("one", "other")), ("[]", ())):
        listener_settings = load_settings(file, {"THINGSPACE_LISTENER_PREVIOUS_PASSWORDS": value}, {})
        assert listener_settings.previous_passwords == passwords


def test_invalid_settings_are_not_applied_and_the_log_has_the_errors(start: Start) -> None:
    listener = start()
    reload_settings(listener, password=None, pathToken="short")
    last = json.loads(listener.log.read_text().splitlines()[-1])
    assert last["event"] == "settings_reload_failed"
    assert [error.split()[0] for error in last["errors"]] == ["password", "pathToken"]
    assert listener.post(build_text_callback()).status_code == 200


def test_changed_file_is_reloaded_without_a_signal_and_a_failure_shows_until_it_is_corrected(start: Start) -> None:
    listener = start()

    def read_state() -> tuple[object, bool]:
        lines = listener.get("/metrics").text.splitlines()
        return listener.get("/readyz").json()["settings"], "thingspace_settings_reload_failed 1.0" in lines

    assert read_state() == ("ok", False)
    listener.write(password=None)
    wait_until(lambda: read_state() == ("reload_failed", True), 60, "the listener reports the failed reload")
    assert listener.get("/readyz").status_code == 200
    assert listener.post(build_text_callback("with the old password")).status_code == 200
    listener.write(password="invented-password-2")
    wait_until(lambda: read_state() == ("ok", False), 60, "the listener has reloaded the settings")
    assert listener.post(build_text_callback("with the new", password="invented-password-2")).status_code == 200


def test_changed_secret_file_is_reloaded_without_a_signal(start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secrets" / "password"
    secret.parent.mkdir()
    secret.write_text("invented-password-1\n")
    listener = start(before=("env", f"THINGSPACE_LISTENER_PASSWORD_FILE={secret}"), password=None)
    secret.write_text("invented-password-2\n")
    callback = build_text_callback("with the new", password="invented-password-2")
    wait_until(lambda: listener.post(callback).status_code == 200, 60, "the listener accepts the new password")


def test_settings_that_require_a_restart_are_logged(start: Start) -> None:
    listener = start()
    for _ in range(2):
        reload_settings(listener, port=28201, minFreeDiskSpace="200MB")
        assert json.loads(listener.log.read_text().splitlines()[-1])["restart_required"] == ["port", "minFreeDiskSpace"]
    assert listener.get("/healthz").status_code == 200


def test_sighup_during_the_start_reloads_once_the_listener_is_ready(tmp_path: Path) -> None:
    file, later = tmp_path / "settings.json", tmp_path / "later.json"
    os.mkfifo(file)
    later.write_text(json.dumps(build_settings(tmp_path, accounts=["taken-up"])))
    command = [*COMMAND, "--settings", str(file), "--json"]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as starting:
        assert starting.stdout
        assert starting.stderr
        with file.open("w") as first:  # opened by both: it reads its settings now
            starting.send_signal(signal.SIGHUP)
            first.write(json.dumps(build_settings(tmp_path)))
            later.replace(file)
        with time_limit(starting):
            assert "url" in json.loads(starting.stdout.readline())
            starting.send_signal(signal.SIGTERM)
            log = [json.loads(line) for line in starting.stderr]
    taken = [line["accounts"] for line in log if line["event"] == "settings_reloaded"]
    assert (starting.returncode, taken) == (0, [["taken-up"]])


def test_check_reports_whether_a_listener_can_start(start: Start) -> None:
    listener = start()
    command = [*COMMAND, "--settings", str(listener.file), "--check"]

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=20, check=False)

    assert check().returncode == 1
    assert "is the store of a running listener" in check().stderr
    listener.stop()
    good = check()
    assert (good.returncode, good.stderr) == (0, "")
    assert re.match(rf"a listener can start: {ACCOUNT}, .* on 127\.0\.0\.1:0, store sqlite:", good.stdout)
    listener.file.write_text(json.dumps(build_settings(listener.folder, password=None)))
    assert check().returncode == 2
