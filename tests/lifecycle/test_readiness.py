"""Readiness probe before a registration: success, failure and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.support.callback_servers import (
    ACCOUNT,
    PASSWORD,
    USERNAME,
    create_tls_context,
    reserve_closed_port,
    run_callback_server,
)
from tests.support.emulator_process import EmulatorProcess
from tests.support.lifecycle_harness import LifecycleHarness
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.lifecycle.model import State
from thingspace_provider.lifecycle.registration import RegistrationLifecycle

lifecycle = RegistrationLifecycle()
ACCEPTED = range(9001, 9007)  # ports


def build_inputs(url: str, **other: object) -> State:
    given = {"accountName": ACCOUNT, "url": url, "username": USERNAME, "password": PASSWORD}
    checked = lifecycle.check(given | other)
    assert checked.failures == []
    return checked.inputs


def test_a_listener_that_passes_the_probe_is_registered(harness: LifecycleHarness) -> None:
    with run_callback_server(ports=ACCEPTED) as http:
        lifecycle.create(harness.context, build_inputs(http.url()))
        assert [entry.url for entry in harness.client.list_callbacks(ACCOUNT)] == [http.url()]
    assert harness.logged == []


def test_create_waits_for_the_listener_and_sends_no_call_when_the_probe_fails(
    harness: LifecycleHarness, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THINGSPACE_READINESS_TIMEOUT_SECONDS", "3")
    with pytest.raises(ListenerNotReady, match=r"connection refused .* for 3 s"):
        lifecycle.create(
            harness.context,
            build_inputs("http://127.0.0.1:80/") | {"url": f"http://127.0.0.1:{reserve_closed_port()}/unused"},
        )
    [waiting] = harness.logged
    assert "waiting up to 3 s" in waiting
    assert emulator.count_calls() == {}


def test_create_sends_no_probe_without_readiness(harness: LifecycleHarness) -> None:
    with run_callback_server(ports=ACCEPTED) as http:
        lifecycle.create(harness.context, build_inputs(http.url(), readiness=False))
        assert http.connections == 0
    assert len(harness.client.list_callbacks(ACCOUNT)) == 1


def test_the_probe_trusts_the_ca_bundle_of_the_environment(
    harness: LifecycleHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("THINGSPACE_READINESS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with run_callback_server(context=create_tls_context(ca.issue_cert("localhost")), ports=ACCEPTED) as https:
        lifecycle.create(harness.context, build_inputs(https.url("localhost")))
    assert len(harness.client.list_callbacks(ACCOUNT)) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("THINGSPACE_READINESS_TIMEOUT_SECONDS", "soon"),
        ("THINGSPACE_READINESS_TIMEOUT_SECONDS", "0"),
        ("THINGSPACE_READINESS_TIMEOUT_SECONDS", "nan"),
        ("THINGSPACE_READINESS_CA_BUNDLE", "/nowhere.pem"),
        ("THINGSPACE_READINESS_CA_BUNDLE", __file__),
    ],
)
def test_an_invalid_setting_is_named(
    harness: LifecycleHarness, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ListenerNotReady, match=f"{variable} .*'{value}'") as failed:
        lifecycle.create(harness.context, build_inputs("https://sms.invalid/x"))
    assert "or unset it. Nothing was registered." in str(failed.value)
    assert emulator.count_calls() == {}
