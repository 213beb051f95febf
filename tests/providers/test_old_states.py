"""States that earlier versions wrote mean the same to today's code.

A file in states/ is what `pulumi stack export --show-secrets` printed, with paths shortened; its name says which
version's. One is added when a release changes what a state holds, none is ever changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_engine import Engine, pickle_provider
from tests.support.pulumi_project import TYPE, reveal_secrets

STATES = sorted((Path(__file__).parent / "states").glob("*.json"))


def load_resources() -> list[Any]:
    """Every resource of ours in every state, secrets in clear."""
    return [
        pytest.param(reveal_secrets(resource), id=f"{state.stem} {resource['urn'].partition('dynamic/thingspace:')[2]}")
        for state in STATES
        for resource in json.loads(state.read_text())["deployment"]["resources"]
        if resource["type"].startswith(TYPE)
    ]


@pytest.mark.parametrize("resource", load_resources())
def test_what_an_earlier_version_wrote_is_still_valid_and_unchanged(engine: Engine, resource: dict[str, Any]) -> None:
    kind = resource["type"].removeprefix(TYPE)
    assert resource["outputs"].pop("__provider") == resource["inputs"].pop("__provider") == pickle_provider(kind)
    checked, failures = engine.check(kind, resource["inputs"])
    assert failures == []
    difference = engine.diff(kind, resource["outputs"], checked)
    assert difference.changes == difference.DIFF_NONE


def test_every_kind_of_resource_is_in_some_state() -> None:
    kinds = {parameter.values[0]["type"].removeprefix(TYPE) for parameter in load_resources()}
    assert kinds >= {"CallbackCredential", "CallbackRegistration", "LocalListener", "SmsCallbackActivation"}
