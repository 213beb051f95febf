"""Settings of the queue recovery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import build_settings as complete
from thingspace_provider.listener.recovery import queue_drainer
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings, load_settings

USER = {"appKey": "key", "appSecret": "sentinel-1", "username": "uws", "password": "sentinel-2"}


def load_from_file(folder: Path, environment: dict[str, str] | None = None, **changes: Any) -> ListenerSettings:
    file = folder / "settings.json"
    file.write_text(json.dumps(complete(folder, **changes)))
    settings = load_settings(file, environment or {}, {})
    queue_drainer.resolve_credentials(settings)
    return settings


def test_recovery_is_off_by_default_even_with_thingspace_credentials(tmp_path: Path) -> None:
    assert load_from_file(tmp_path, {"THINGSPACE_APP_KEY": "key"}).recovery_mode == "off"
    assert load_from_file(tmp_path, recoveryMode=False).recovery_mode == "off"  # how YAML reads an unquoted off


def test_the_environment_of_pulumi_up_gives_the_credentials_and_wins_over_the_file(tmp_path: Path) -> None:
    environment = {"THINGSPACE_LISTENER_RECOVERY_MODE": "history", "THINGSPACE_PASSWORD": "sentinel-3"}
    user = queue_drainer.resolve_credentials(load_from_file(tmp_path, environment, thingspaceCredentials=USER))
    assert user is not None
    assert (user.username, user.password) == ("uws", "sentinel-3")
    assert user.base_url == "https://thingspace.verizon.com/api"
    assert "sentinel" not in repr(load_from_file(tmp_path, environment, thingspaceCredentials=USER))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recoveryMode": "yes"}, "recoveryMode (settings file {file}): must be one of off, startCallbacks, history"),
        (
            {"recoveryIntervalSeconds": 0},
            "recoveryIntervalSeconds (settings file {file}): must be a number from 6 to 86400",
        ),
        ({"recoveryDelaySeconds": "9"}, "recoveryDelaySeconds (settings file {file}): must be a number from"),
        (
            {"thingspaceCredentials": "sentinel"},
            'thingspaceCredentials (settings file {file}): must be a mapping, not text. Example: {{"appKey"',
        ),
        (
            {"thingspaceCredentials": {"appkey": "x"}},
            "thingspaceCredentials.appkey (settings file {file}) is not a setting: did you mean appKey?",
        ),
        (
            {"recoveryMode": "history", "thingspaceCredentials": {**USER, "password": ""}},
            "thingspaceCredentials (settings file {file}): password must be set for recoveryMode history",
        ),
        (
            {"recoveryMode": "history"},
            "thingspaceCredentials: appKey, appSecret, username, password must be set for recoveryMode history",
        ),
        (
            {"recoveryMode": "history", "thingspaceCredentials": {**USER, "baseUrl": "http://thingspace.example/api"}},
            "would send the credentials unencrypted",
        ),
    ],
)
def test_invalid_recovery_settings_are_reported_before_the_start(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidSettings) as invalid:
        load_from_file(tmp_path, **changes)
    assert expected.format(file=tmp_path / "settings.json") in str(invalid.value)
    assert "sentinel" not in str(invalid.value)
