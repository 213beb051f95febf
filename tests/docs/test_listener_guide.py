"""The listener guide agrees with the code: its example is loaded, its tables are compared."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.test_documents import DOCUMENTS
from tests.support.listener_process import PASSWORD
from thingspace_provider.listener.settings.listener_settings import ListenerSettings, load_settings
from thingspace_provider.listener.store.disk_space import parse_disk_space

GUIDE = DOCUMENTS["docs/listener.md"]
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", GUIDE.replace("\n   ", "\n"), re.DOTALL)]
SETTINGS = {str(field.alias): field for field in ListenerSettings.model_fields.values()}
DEFAULTS = {
    "recoveryMode": "`off`",
    "recoveryDelaySeconds": "10",
    "recoveryIntervalSeconds": "900",
    "sourceAddressPolicy": "`log`",
    "trustedProxyHops": "0",
    "keepAliveSeconds": "75",
    "minFreeDiskSpace": "`100MB`",
    "retentionDays": "0",
}


def test_example_settings_can_be_loaded() -> None:
    settings = load_settings(
        None, {}, {**EXAMPLES[0], "password": PASSWORD, "pathToken": "a" * 16, "apiToken": "b" * 16}
    )
    assert settings.accounts == ("0000123456-00001",)


def test_settings_of_recovery_are_known() -> None:
    assert set(EXAMPLES[1]) <= set(SETTINGS)


@pytest.mark.parametrize("key", DEFAULTS)
def test_default_of_a_setting_is_in_the_table(key: str) -> None:
    table = GUIDE.partition("## Settings")[2].partition("## Stores")[0]
    [row] = re.findall(rf"^\| `{key}` \| (\S+) \|", table, flags=re.MULTILINE)
    value = SETTINGS[key].default
    if key == "minFreeDiskSpace":
        assert value == parse_disk_space(row.strip("`"))
    else:
        assert row == DEFAULTS[key]
        assert str(value).removesuffix(".0") == row.strip("`")
