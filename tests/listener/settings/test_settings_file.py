"""Invalid settings: one sentence for each error, at a start, in a check and at SIGHUP."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import PASSWORD, build_settings
from thingspace_provider.listener.runtime import server
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings, load_settings


def load_content(folder: Path, content: str, **environment: str) -> ListenerSettings:
    file = folder / "settings"
    file.write_text(content)
    return load_settings(file, environment, {})


def load_error(folder: Path, content: str, **environment: str) -> str:
    with pytest.raises(InvalidSettings) as bad:
        load_content(folder, content, **environment)
    (error,) = bad.value.errors
    return error


@pytest.mark.parametrize(
    ("value", "position"),
    [
        ("2026-13-45", "line 2, column 11: quote it"),  # as a day
        ('!!int ""', "line 2, column 11: quote it"),
        ("!!bool hidden", "line 2, column 11: quote it"),
        ("!!timestamp hidden", "line 2, column 11: quote it"),
        ("0x" + "f" * 5000, "line 2, column 11: quote it"),
        ("9" * 5000, "line 2, column 11: quote it"),
        ("*hidden", "line 2, column 11"),
        ("!!python/object:hidden x", "line 2, column 11"),
        ("[" * 3000, "depth"),
        ("\0", "its characters"),
    ],
)
def test_invalid_yaml_is_reported_with_its_position_and_without_its_value(
    tmp_path: Path, value: str, position: str
) -> None:
    error = load_error(tmp_path, f"username: plant-a\npassword: {value}\n")
    assert error.startswith(f"settings file {tmp_path / 'settings'} is not valid YAML ({position}")
    assert "hidden" not in error


@pytest.mark.parametrize(
    ("content", "position"),
    [
        ('{"port": ' + "9" * 5000 + "}", "a number is too long"),
        ('{"port": ' * 100_000, "depth"),
        ('{"port": 1,}', "line 1, column 1"),
    ],
)
def test_invalid_json_is_reported_with_its_position(tmp_path: Path, content: str, position: str) -> None:
    assert f"is not valid JSON ({position}" in load_error(tmp_path, content)


def test_yaml_file_is_loaded(tmp_path: Path) -> None:
    lines = [f"{key}: {json.dumps(value)}" for key, value in build_settings(tmp_path).items()]
    listener_settings = load_content(tmp_path, "\n".join([*lines, "recoveryMode: off", "retentionDays: 1.5"]))
    assert (
        listener_settings.port,
        listener_settings.recovery_mode,
        listener_settings.retention_days,
        listener_settings.password,
    ) == (0, "off", 1.5, PASSWORD)


UNENCODABLE_ERROR = "must be UTF-8 text without NUL"
STORE_ERROR = "must be sqlite:/// followed by the path of a file, or postgresql://user@host/database"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("password", "\ud800hidden", UNENCODABLE_ERROR),
        ("username", "hidden\0", UNENCODABLE_ERROR),
        ("store", "sqlite:////tmp/\0", UNENCODABLE_ERROR),
        ("host", "\0", UNENCODABLE_ERROR),
        ("thingspaceCredentials", {"password": "\udce9"}, UNENCODABLE_ERROR),
        ("store", "postgresql://[hidden/db", "is no valid URL"),
        ("store", "x.db", f"{STORE_ERROR}; for the file x.db, write sqlite:///x.db"),
        ("store", "mysql://h/d", f"{STORE_ERROR}; mysql is not supported"),
        ("store", "sqlite:////", STORE_ERROR),
    ],
)
def test_an_invalid_value_is_rejected(tmp_path: Path, key: str, value: Any, expected: str) -> None:
    error = load_error(tmp_path, json.dumps(build_settings(tmp_path, **{key: value})))
    assert re.match(rf"{key}(\.password)? \(settings file ", error)
    assert f": {expected}" in error
    assert "hidden" not in error


def test_variable_is_rejected_when_it_is_not_utf8(tmp_path: Path) -> None:
    content = json.dumps(build_settings(tmp_path, recoveryMode="history"))
    latin = b"pass\xe9".decode("utf-8", "surrogateescape")
    user = {f"THINGSPACE_{name}": "x" for name in ("APP_KEY", "APP_SECRET", "USERNAME", "PASSWORD")}
    error = load_error(tmp_path, content, **user, THINGSPACE_LISTENER_PASSWORD=latin)
    assert error.startswith(f"password (environment variable THINGSPACE_LISTENER_PASSWORD): {UNENCODABLE_ERROR}")
    error = load_error(tmp_path, content, **user | {"THINGSPACE_PASSWORD": latin})
    origin = "thingspaceCredentials.password (environment variable THINGSPACE_PASSWORD)"
    assert error.startswith(f"{origin}: {UNENCODABLE_ERROR}")


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_every_setting_has_an_environment_variable(tmp_path: Path) -> None:
    variables = {
        "ACCOUNTS": "0000123456-00001,0000123456-00002",
        "USERNAME": "plant-a",
        "PASSWORD": "9073158264906172",
        "PREVIOUS_PASSWORDS": '["a,b"]',
        "PATH_TOKEN": "0123456789012345",
        "API_TOKEN": "0123456789012346",
        "STORE": f"sqlite:///{tmp_path}/inbox.sqlite3",
        "SINKS": json.dumps(
            [{"name": "hub", "kind": "http", "url": "https://h.example/x", "signingSecrets": [SECRET]}]
        ),
        "RECOVERY_MODE": "history",
        "RECOVERY_DELAY_SECONDS": "2.5",
        "RECOVERY_INTERVAL_SECONDS": "60",
        "THINGSPACE_CREDENTIALS": '{"appKey": "k", "appSecret": "s", "username": "u", "password": "p"}',
        "SOURCE_ADDRESS_POLICY": "enforce",
        "ALLOWED_SOURCE_ADDRESSES": "198.51.100.7,203.0.113.0/24",
        "TRUSTED_PROXY_HOPS": "1",
        "MIN_FREE_DISK_SPACE": "2GB",
        "REQUIRE_SYNCHRONOUS_STANDBY": "true",
        "RETENTION_DAYS": "90",
        "HOST": "192.0.2.1",
        "PORT": "8080",
        "ADMIN_HOST": "192.0.2.2",
        "ADMIN_PORT": "8081",
        "PUBLIC_URL": "https://sms.example.com",
        "KEEP_ALIVE_SECONDS": "100",
        "TRACING": "true",
    }
    assert set(variables) == {name.upper() for name in ListenerSettings.model_fields}
    settings = load_settings(None, {f"THINGSPACE_LISTENER_{name}": value for name, value in variables.items()}, {})
    defaults = ListenerSettings.model_fields.items()
    assert [name for name, field in defaults if getattr(settings, name) == field.default] == []
    assert (settings.accounts, settings.previous_passwords) == (("0000123456-00001", "0000123456-00002"), ("a,b",))
    assert [str(network) for network in settings.allowed_source_addresses] == ["198.51.100.7/32", "203.0.113.0/24"]
    assert (settings.port, settings.recovery_delay_seconds, settings.password) == (8080, 2.5, "9073158264906172")


def test_variable_is_rejected_when_it_is_no_number(tmp_path: Path) -> None:
    content = json.dumps(build_settings(tmp_path))
    error = load_error(tmp_path, content, THINGSPACE_LISTENER_PORT="tcp://10.0.0.1:28200")
    assert error.startswith("port (environment variable THINGSPACE_LISTENER_PORT): must be a whole number from 0")


def test_value_is_read_from_the_file_that_a_variable_names(tmp_path: Path) -> None:
    content, secret = json.dumps(build_settings(tmp_path)), tmp_path / "secret"
    secret.write_bytes(b" another-password \r\n")
    settings = load_content(tmp_path, content, THINGSPACE_LISTENER_PASSWORD_FILE=str(secret))
    assert settings.password == " another-password "
    both = {"THINGSPACE_LISTENER_PASSWORD_FILE": str(secret), "THINGSPACE_LISTENER_PASSWORD": "other-password"}
    error = load_error(tmp_path, content, **both)
    assert (
        error == "THINGSPACE_LISTENER_PASSWORD and THINGSPACE_LISTENER_PASSWORD_FILE are both set: remove one of them"
    )


@pytest.mark.parametrize(
    ("content", "detail"), [(None, "No such file or directory"), (b"\xff\xfe", "it is not UTF-8 text")]
)
def test_unreadable_file_of_a_variable_is_reported_without_its_content(
    tmp_path: Path, content: bytes | None, detail: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    variable = "THINGSPACE_LISTENER_PASSWORD_FILE"
    error = load_error(tmp_path, json.dumps(build_settings(tmp_path)), **{variable: str(file)})
    assert error == f"{variable}: {file} cannot be read: {detail}"


def test_all_errors_are_reported_at_once_without_values(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    changes = {
        "pasword": "hidden",
        "password": None,
        "pathToken": "hidden",
        "port": "hidden",
        "recoveryMode": "history",
    }
    file.write_text(json.dumps(build_settings(tmp_path, **changes)))
    with pytest.raises(InvalidSettings) as invalid:
        load_settings(file, {}, {})
    assert sorted(error.split()[0].rstrip(":") for error in invalid.value.errors) == [
        "password",
        "pasword",
        "pathToken",
        "port",
        "thingspaceCredentials",
    ]
    assert "hidden" not in str(invalid.value)
    assert f"pasword (settings file {file}) is not a setting: did you mean password?" in invalid.value.errors


@pytest.mark.parametrize("host", ["127.0.0..1", "x" * 70])
def test_invalid_host_name_cannot_be_bound(tmp_path: Path, host: str) -> None:
    settings = load_content(tmp_path, json.dumps(build_settings(tmp_path, host=host)))
    with pytest.raises(server.BindError, match="this machine does not know that name"):
        server.bind_sockets(settings)


def test_idle_connections_outlive_the_idle_timeout_of_load_balancers(tmp_path: Path) -> None:
    settings = load_content(tmp_path, json.dumps(build_settings(tmp_path)))
    assert settings.keep_alive_seconds > 60  # AWS, GCP and nginx close an idle connection after 60 seconds
