from __future__ import annotations

import re
from pathlib import Path

import click

from tests.support.raw_api_client import RawApiClient
from thingspace_provider.cli.emulator import command
from thingspace_provider.emulator.platform.faults import ACTIONS, OPERATIONS, FaultRule
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.validation import StrictModel
from thingspace_provider.emulator.runtime.scenario import (
    InvalidScenario,
    Scenario,
    ScenarioAccount,
    ScenarioUser,
    parse_scenario,
)

GUIDE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text()


def find_block(kind: str) -> str:
    match = re.search(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)
    assert match
    return match[1]


def find_keys(model: type[StrictModel]) -> set[str]:
    return set(model.model_json_schema()["properties"])


def test_the_scenario_of_the_guide_has_every_key_and_is_valid() -> None:
    import yaml  # noqa: PLC0415

    value = yaml.safe_load(find_block("yaml"))
    assert set(value) == find_keys(Scenario)
    assert set(value["accounts"][0]) == find_keys(ScenarioAccount)
    assert {key for user in value["users"] for key in user} == find_keys(ScenarioUser)
    try:
        parse_scenario(value)
    except InvalidScenario as error:
        assert "test-ca.pem" in str(error)  # noqa: PT017 - the guide's file does not exist, and is checked last
    del value["caFile"]
    config = parse_scenario(value)
    assert [message.text for message in config.state.accounts["0000123456-00001"].queue.values()] == [
        "T=20.9",
        "T=21.5",
    ]


def test_every_option_is_in_the_guide() -> None:
    for parameter in command.params:
        assert isinstance(parameter, click.Option)
        assert f"`{parameter.opts[0]}" in GUIDE


def test_every_request_to_the_control_api_is_in_the_guide(caller: RawApiClient) -> None:
    for path, methods in caller.control("GET", "openapi.json").json()["paths"].items():
        for method in methods:
            if not path.endswith("openapi.json"):
                assert f"`{method.upper()} {path.removeprefix('/_emulator/').replace('{number}', 'ID')}" in GUIDE


def test_the_fault_of_the_guide_is_valid_and_every_action_is_documented() -> None:
    assert FaultRule.model_validate_json(find_block("json")).times == 2
    for name in (*OPERATIONS, *ACTIONS):
        assert f"`{name}`" in GUIDE


def test_the_switches_of_the_guide_exist() -> None:
    named = re.findall(r"(?:--switch |[Ss]witch `)([a-z]\w+)=(\w+)", GUIDE)
    assert named
    for name, value in named:
        Switches({name: value})
