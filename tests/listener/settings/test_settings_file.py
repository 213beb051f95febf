"""A settings file that is no good is told in sentences, at a start, in a check and at SIGHUP alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import PASSWORD, settings
from thingspace_provider.listener.runtime import server
from thingspace_provider.listener.settings.listener_settings import Settings, load
from thingspace_provider.listener.settings.settings_file import BadSettings


def loaded(folder: Path, content: str, **environment: str) -> Settings:
    file = folder / "settings"
    file.write_text(content)
    return load(file, environment, {})


def problem(folder: Path, content: str, **environment: str) -> str:
    with pytest.raises(BadSettings) as bad:
        loaded(folder, content, **environment)
    (said,) = bad.value.problems
    return said


@pytest.mark.parametrize(
    ("value", "place"),
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
def test_yaml_whose_value_is_none_says_where_and_not_what(tmp_path: Path, value: str, place: str) -> None:
    said = problem(tmp_path, f"username: plant-a\npassword: {value}\n")
    assert said.startswith(f"settings file {tmp_path / 'settings'} is not valid YAML ({place}")
    assert "hidden" not in said


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('{"port": ' + "9" * 5000 + "}", "a number is too long"),
        ('{"port": ' * 100_000, "depth"),
        ('{"port": 1,}', "line 1, column 1"),
    ],
)
def test_json_that_is_none_says_where(tmp_path: Path, content: str, place: str) -> None:
    assert f"is not valid JSON ({place}" in problem(tmp_path, content)


def test_a_yaml_file_without_tags_means_what_it_says(tmp_path: Path) -> None:
    lines = [f"{key}: {json.dumps(value)}" for key, value in settings(tmp_path).items()]
    found = loaded(tmp_path, "\n".join([*lines, "heal: off", "retentionDays: 1.5"]))
    assert (found.port, found.heal, found.retention_days, found.password) == (0, "off", 1.5, PASSWORD)


UNSENDABLE = "must be UTF-8 text without NUL"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("password", "\ud800hidden", UNSENDABLE),
        ("username", "hidden\0", UNSENDABLE),
        ("store", "sqlite:////tmp/\0", UNSENDABLE),
        ("host", "\0", UNSENDABLE),
        ("thingspace", {"password": "\udce9"}, UNSENDABLE),
        ("store", "postgresql://[hidden/db", "is no address"),
        ("store", "sqlite:////", "must be sqlite:/// followed by the path of a file"),
    ],
)
def test_a_value_that_nothing_can_be_done_with_is_refused(tmp_path: Path, key: str, value: Any, said: str) -> None:
    shown = problem(tmp_path, json.dumps(settings(tmp_path, **{key: value})))
    assert shown.startswith(f"{key} (settings file ")
    assert f": {said}" in shown
    assert "hidden" not in shown


def test_bytes_in_the_environment_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    content = json.dumps(settings(tmp_path, heal="history"))
    latin = b"pass\xe9".decode("utf-8", "surrogateescape")
    user = {f"THINGSPACE_{name}": "x" for name in ("APP_KEY", "APP_SECRET", "USERNAME", "PASSWORD")}
    said = problem(tmp_path, content, **user, THINGSPACE_LISTENER_PASSWORD=latin)
    assert said.startswith(f"password (environment variable THINGSPACE_LISTENER_PASSWORD): {UNSENDABLE}")
    said = problem(tmp_path, content, **user | {"THINGSPACE_PASSWORD": latin})
    assert said == f"thingspace.password (environment variable THINGSPACE_PASSWORD): {UNSENDABLE}"


@pytest.mark.parametrize("host", ["127.0.0..1", "x" * 70])
def test_a_host_that_can_be_no_name_cannot_be_listened_on(host: str) -> None:
    with pytest.raises(server.AddressTaken, match="this machine does not know that name"):
        server.bound(host, 0)
