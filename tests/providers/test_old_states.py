"""Golden states of earlier versions are valid for this version and cause no change.

A file in states/ is the output of `pulumi stack export --show-secrets` for GOLDEN_BASE_URL, with shortened paths. Its
name begins with the version that wrote it. A release that changes the state adds a file; existing files never change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_engine import Provider, pickle_provider
from tests.support.pulumi_project import GOLDEN_BASE_URL, TYPE, reveal_secrets

STATES = sorted((Path(__file__).parent / "states").glob("*.json"))


def load_resources() -> list[Any]:
    """Return every resource of this package in every golden state, with secrets in plain text."""
    return [
        pytest.param(reveal_secrets(resource), id=f"{state.stem} {resource['urn'].partition('dynamic/thingspace:')[2]}")
        for state in STATES
        for resource in json.loads(state.read_text())["deployment"]["resources"]
        if resource["type"].startswith(TYPE)
    ]


@pytest.mark.parametrize("resource", load_resources())
def test_a_golden_state_is_valid_and_causes_no_change(provider: Provider, resource: dict[str, Any]) -> None:
    engine = provider.start({"THINGSPACE_BASE_URL": GOLDEN_BASE_URL})
    kind = resource["type"].removeprefix(TYPE)
    assert resource["outputs"].pop("__provider") == resource["inputs"].pop("__provider") == pickle_provider(kind)
    checked, failures = engine.check(kind, resource["inputs"])
    assert failures == []
    difference = engine.diff(kind, resource["outputs"], checked)
    assert difference.changes == difference.DIFF_NONE


def test_every_resource_type_is_in_a_golden_state() -> None:
    kinds = {parameter.values[0]["type"].removeprefix(TYPE) for parameter in load_resources()}
    assert kinds >= {"CallbackCredential", "CallbackRegistration", "LocalListener", "SmsCallbackActivation"}
