from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.raw_api_client import RawApiClient, parse_messages
from thingspace_provider.emulator.runtime.scenario import InvalidScenario, load_scenario, parse_scenario
from thingspace_provider.emulator.runtime.server import EmulatorThread

FULL_SCENARIO = """
clock: {start: 2026-03-01T08:15:30-05:00, frozen: true}
preset: documented
switches: {expiresIn: constant, lastPage: auto}
applications: {key: secret}
users:
  - {username: reader, password: right, accounts: ["0000000001-00001"], failedLogins: 4}
  - {username: shut, password: out, locked: true}
accounts:
  - name: "0000000001-00001"
    devices:
      - ids: {mdn: "5551230001", imei: "990000000000001"}
        group: pumps
      - {ids: {mdn: "5551230002"}, reachable: false, active: false, plan: 5MB, customFields: {CustomField1: x}}
    listeners: [{url: "https://hooks.example.net/sms", username: plant-a, password: example-only}]
    queuedMessages: [first, second]
  - "0000000002-00001"
faults:
  - {operation: startCallbacks, response: {format: xml, status: 403}, times: 1}
resolve: {"hooks.example.net:443": "127.0.0.1:8443"}
"""


def test_a_scenario_sets_everything_the_control_api_can(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FULL_SCENARIO)
    with EmulatorThread(load_scenario(tmp_path / "s.yaml")) as running:
        client = RawApiClient(running.url)
        client.access_token = client.request_token(("key", "secret")).json()["access_token"]
        assert client.login("shut", "out").code.endswith("UserLocked")
        session = client.login("reader", "right").json()
        client.session = session["sessionToken"]
        account = "0000000001-00001"
        assert client.start_callbacks(account).status == 403
        assert client.start_callbacks("0000000002-00001").code.endswith("AccountName")
        reply = client.fetch_history(account=account)
        assert parse_messages(reply) == ["first", "second"]
        assert reply.json()["messages"][0]["timestamp"] == "2026-03-01T08:15:30-05:00"
        assert client.control("GET", "clock").json()["frozen"] is True
        assert client.control("GET", "switches").json()["retryProfile"] == "documented"
        assert client.control("GET", "resolve").json() == {"hooks.example.net:443": "127.0.0.1:8443"}
        devices = client.control("GET", f"devices?accountName={account}").json()["devices"]
        assert [device["reachable"] for device in devices] == [True, False]
        assert len(client.control("GET", "accounts").json()["accounts"][1]) == 6


def test_an_empty_scenario_is_the_default() -> None:
    with EmulatorThread(parse_scenario(None)) as running:
        assert RawApiClient(running.url).log_in().start_callbacks().status == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("acounts: []", "unknown key acounts; known keys: accounts, users"),
        ("- x", "input should be a valid dictionary"),
        ("accounts: 5", "accounts: input should be a valid list"),
        ("accounts: [{nam: x}]", "accounts[0]: unknown key nam; known keys: name, devices"),
        ("accounts: [{}]", "accounts[0].name: field required"),
        ("accounts: [{name: 123}]", "accounts[0].name: input should be a valid string, in quotes"),
        ("accounts: [a, a]", "accounts[1]: duplicate account 'a'"),
        ("accounts: [{name: a, devices: -1}]", "accounts[0].devices: the number of devices must be from 0"),
        ("accounts: [{name: a, devices: [{ids: {fax: '1'}}]}]", "accounts[0].devices[0].ids.fax"),
        (
            "accounts: [{name: a, devices: [{ids: {mdn: 5551230001}}]}]",
            "accounts[0].devices[0].ids.mdn: input should be a valid string",
        ),
        (
            "accounts: [{name: a, devices: [{ids: {}}]}]",
            "accounts[0].devices[0].ids: dictionary should have at least 1 item",
        ),
        (
            "accounts: [{name: a, devices: [&d {ids: {mdn: '5551230001'}}]}, {name: b, devices: [*d]}]",
            "the device mdn 5551230001 belongs to both a and b",
        ),
        ("accounts: [{name: a, devices: 0, queuedMessages: [x]}]", "no device that could have sent"),
        ("accounts: [{name: a, listeners: [{url: 'http://h:8080'}]}]", "INPUT_INVALID.Emulator.Port"),
        ("accounts: [{name: a, listeners: [{url: 'http://h'}, {url: 'http://h'}]}]", "already has a listener"),
        ("users: []", "users: list should have at least 1 item"),
        ("users: [{username: u, password: p, accounts: [nowhere]}]", "there is no account nowhere"),
        ("users: [{username: u, password: p}, {username: u, password: p}]", "users[1]: duplicate user 'u'"),
        (
            "users: [{username: u, password: p, failedLogins: 5, locked: false}]",
            "users[0]: a user with 5 failedLogins is locked",
        ),
        ("applications: {}", "applications: dictionary should have at least 1 item"),
        ("switches: {expiresIn: often}", "switches: invalid value 'often' of switch expiresIn"),
        ("preset: imagined", "unknown preset 'imagined'"),
        ("faults: [{operation: start}]", "faults[0].operation: input should be 'token'"),
        ("clock: {start: soon}", "clock.start: the start must be a time such as"),
        ("clock: {start: [1]}", "clock.start: the start must be a time such as"),
        ("resolve: {h: example.net}", "resolve.h: 'example.net' is not an address and a port"),
        ("caFile: nothing.pem", "holds no certificate"),
        ("a: [", "is not YAML"),
        ("!!python/object:os.system x", "is not YAML"),
    ],
)
def test_an_invalid_scenario_is_rejected_with_the_position(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(InvalidScenario) as caught:
        load_scenario(tmp_path / "s.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_scenario_in_another_encoding_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidScenario, match="not YAML"):
        load_scenario(tmp_path / "s.yaml")


def test_a_listener_on_any_port_is_accepted_when_switched() -> None:
    value: Any = yaml.safe_load(FULL_SCENARIO)
    value["switches"]["registrationPorts"] = "any"
    value["accounts"][0]["listeners"] = [{"url": "http://127.0.0.1:12345/"}]
    assert parse_scenario(value).switches["registrationPorts"] == "any"
