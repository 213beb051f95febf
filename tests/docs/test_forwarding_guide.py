"""The forwarding guide agrees with the code: its examples are parsed, its tables are compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.sample_messages import build_stored_message
from thingspace_provider.listener.forwarding import cloudevents
from thingspace_provider.listener.forwarding.settings import (
    ForwardingSettings,
    HttpSettings,
    KafkaSettings,
    SinkSettings,
)
from thingspace_provider.listener.forwarding.sinks import http
from thingspace_provider.listener.model import STATES, Device

GUIDE = (Path(__file__).resolve().parent.parent.parent / "docs" / "forwarding.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", GUIDE, flags=re.DOTALL)]


def test_example_of_the_settings_is_valid() -> None:
    hub, stream = ForwardingSettings.model_validate({"sinks": EXAMPLES[0]}).sinks
    assert isinstance(hub, HttpSettings)
    assert isinstance(stream, KafkaSettings)


def test_defaults_are_those_of_the_table() -> None:
    defaults = SinkSettings(name="hub")
    assert f"| `maxAttempts` | | {defaults.max_attempts} |" in GUIDE
    assert f"| `timeoutSeconds` | | {defaults.timeout_seconds:g} |" in GUIDE
    assert f'| `messageKinds` | | `["{defaults.message_kinds[0]}"]` |' in GUIDE
    assert f"| `duplicates` | | `{defaults.duplicates}` |" in GUIDE


def test_event_in_the_guide_has_the_shape_of_a_real_one() -> None:
    message = build_stored_message(text="T=21.5", devices=(Device("mdn", "5551230001"),), duplicate_of=None)
    real = json.loads(cloudevents.to_cloudevent(message).body)
    assert EXAMPLES[1].pop("id").startswith("17-")
    assert real.pop("id").startswith("17-")
    assert EXAMPLES[1] == real


def test_kind_is_in_the_table_with_its_type() -> None:
    for kind, name in cloudevents.EVENT_TYPES.items():
        assert f"| `{kind}` | `{name}` |" in GUIDE


def test_table_of_responses_is_that_of_the_code() -> None:
    def row(beginning: int) -> set[int]:
        [line] = [line for line in GUIDE.splitlines() if re.match(rf"\| (3xx, )?{beginning}, ", line)]
        return {int(status) for status in re.findall(r"\b\d{3}\b", line.split("|")[1])}

    assert row(400) == http.PERMANENT_STATUSES
    assert row(401) == http.UNAVAILABLE_STATUSES - set(range(300, 400))


@pytest.mark.parametrize("state", STATES)
def test_state_of_an_entry_is_named(state: str) -> None:
    assert f"`{state}`" in GUIDE
