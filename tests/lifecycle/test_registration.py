"""CallbackRegistration without Pulumi: its calls, registration conflicts, drift and recovery."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.lifecycle_harness import LifecycleHarness
from thingspace_provider.api import Registration, errors
from thingspace_provider.api.errors import ThingSpaceError
from thingspace_provider.lifecycle.registration import RegistrationConflict, RegistrationLifecycle

URL = "https://sms.example.com/callbacks/0000123456-00001"
ID = f"{ACCOUNT}/{SERVICE}"
FOREIGN = Registration(SERVICE, "https://other.example.com/hook", "other", "program")
lifecycle = RegistrationLifecycle()


def build_inputs(**other: Any) -> dict[str, Any]:
    given = {"accountName": ACCOUNT, "url": URL, "username": "plant-a", "password": "example-only", "readiness": False}
    checked = lifecycle.check(given | other)
    assert checked.failures == []
    return checked.inputs


def test_create_lists_and_registers(harness: LifecycleHarness, emulator: EmulatorProcess) -> None:
    created = lifecycle.create(harness.context, build_inputs())
    assert created.id == f"{ACCOUNT}/{SERVICE}"
    assert created.outputs["registeredAt"] == "2026-03-01T12:00:00+00:00"
    calls = emulator.count_calls()
    assert (calls["listCallbacks"], calls["registerCallback"]) == (1, 1)


def test_create_sends_nothing_after_an_interrupted_create(harness: LifecycleHarness, emulator: EmulatorProcess) -> None:
    lifecycle.create(harness.context, build_inputs())
    again = lifecycle.create(harness.context, build_inputs())
    assert again.id == f"{ACCOUNT}/{SERVICE}"
    assert emulator.count_calls()["registerCallback"] == 1
    [logged] = harness.logged
    assert "registration is already up to date." in logged


def test_an_empty_credential_is_the_same_as_none(harness: LifecycleHarness) -> None:
    outputs = lifecycle.create(harness.context, build_inputs(username="", password="")).outputs
    same = lifecycle.read(harness.context, ID, outputs)
    assert same is not None
    assert not lifecycle.diff(same.outputs, build_inputs(username="", password=""), harness.fingerprint).changes
    assert harness.logged == []


def test_create_renews_the_password_at_its_own_url(harness: LifecycleHarness) -> None:
    lifecycle.create(harness.context, build_inputs())
    lifecycle.create(harness.context, build_inputs(password="another"))
    assert harness.client.list_callbacks(ACCOUNT)[0].password == "another"


def test_create_ignores_registrations_of_other_services(harness: LifecycleHarness) -> None:
    harness.client.register_callback(ACCOUNT, Registration("CarrierService", "https://other.example.com/carrier"))
    lifecycle.create(harness.context, build_inputs())
    assert len(harness.client.list_callbacks(ACCOUNT)) == 2


def test_services_of_an_account_are_independent(harness: LifecycleHarness) -> None:
    lifecycle.create(harness.context, build_inputs())
    confirmed = build_inputs(serviceName="SMSDeliveryConfirmation", url=URL + "/confirmed")
    outputs = lifecycle.create(harness.context, confirmed).outputs
    lifecycle.update(harness.context, outputs, confirmed | {"password": "another"})
    passwords = {entry.service_name: entry.password for entry in harness.client.list_callbacks(ACCOUNT)}
    assert passwords == {SERVICE: "example-only", "SMSDeliveryConfirmation": "another"}
    lifecycle.delete(harness.context, outputs)
    assert [entry.service_name for entry in harness.client.list_callbacks(ACCOUNT)] == [SERVICE]


def test_an_update_rejects_an_unknown_third_url(harness: LifecycleHarness) -> None:
    olds = lifecycle.create(harness.context, build_inputs()).outputs
    harness.client.register_callback(ACCOUNT, FOREIGN)
    with pytest.raises(RegistrationConflict, match=r"already go to https://other\.example\.com/\*\*\*, not"):
        lifecycle.update(harness.context, olds, build_inputs(password="another"))
    assert harness.client.list_callbacks(ACCOUNT) == [FOREIGN]


def test_an_update_without_differences_sends_nothing_and_renews_registered_at(
    harness: LifecycleHarness, emulator: EmulatorProcess
) -> None:
    olds = lifecycle.create(harness.context, build_inputs()).outputs
    harness.time += dt.timedelta(hours=1)
    news = lifecycle.update(harness.context, olds | {"profile": "plant_a"}, build_inputs())
    assert news["registeredAt"] == "2026-03-01T13:00:00+00:00"
    assert emulator.count_calls()["registerCallback"] == 1


def test_a_failed_replacement_restores_the_old_registration(
    harness: LifecycleHarness, emulator: EmulatorProcess
) -> None:
    olds = lifecycle.create(harness.context, build_inputs()).outputs
    before = harness.client.list_callbacks(ACCOUNT)
    emulator.add_fault("registerCallback", 400, {"errorCode": "X.INPUT_INVALID.Url", "errorMessage": "no"}, times=2)
    with pytest.raises(errors.InputRejected):
        lifecycle.update(harness.context, olds, build_inputs(password="another"))
    assert harness.client.list_callbacks(ACCOUNT) == before


@pytest.mark.parametrize("token", ["tok123456789", "abcdefghijklmnopqrstuvwxyz0123456789"])
def test_a_token_in_a_url_is_never_shown(harness: LifecycleHarness, token: str) -> None:
    harness.client.register_callback(ACCOUNT, Registration(SERVICE, f"https://other.example.com/{token}/x"))
    inputs = build_inputs(url=f"https://sms.example.com/callbacks/{token}/{ACCOUNT}")
    with pytest.raises(RegistrationConflict) as conflict:
        lifecycle.create(harness.context, inputs)
    assert "https://sms.example.com/callbacks/***/0000123456-00001" in str(conflict.value)
    outputs = lifecycle.create(harness.context, inputs | {"adopt": True}).outputs
    assert token not in f"{conflict.value}{harness.logged}{outputs['endpoint']}"


def test_adoption_names_both_urls(harness: LifecycleHarness) -> None:
    harness.client.register_callback(ACCOUNT, FOREIGN)
    olds = lifecycle.create(harness.context, build_inputs(adopt=True)).outputs
    [logged] = harness.logged
    assert logged.startswith(f"account {ACCOUNT}: {SERVICE} registration adopted: ")
    assert logged.endswith(f"its URL was https://other.example.com/***, and is now {URL}.")
    lifecycle.update(harness.context, olds, build_inputs(adopt=True, url=f"{URL}/new"))
    assert len(harness.logged) == 1  # its own URL is not adopted


def test_conflict_tells_urls_apart_that_look_the_same_when_masked(harness: LifecycleHarness) -> None:
    harness.client.register_callback(ACCOUNT, Registration(SERVICE, "https://sms.example.com/a"))
    with pytest.raises(RegistrationConflict, match="they differ in a masked part"):
        lifecycle.create(harness.context, build_inputs(url="https://sms.example.com/b"))


def test_drift_names_the_changed_inputs_until_an_update(harness: LifecycleHarness) -> None:
    olds = lifecycle.create(harness.context, build_inputs()).outputs
    harness.client.register_callback(ACCOUNT, Registration(SERVICE, URL, "plant-a", "another"))
    for _ in range(2):
        drifted = lifecycle.read(harness.context, ID, olds)
        assert drifted is not None
        assert drifted.inputs is not None
        assert (drifted.inputs["drift"], drifted.outputs["drift"]) == (["password"], ["password"])
        olds = drifted.outputs
    assert "drift" not in lifecycle.update(harness.context, olds, build_inputs())


def test_read_by_id_returns_what_is_registered(harness: LifecycleHarness) -> None:
    harness.client.register_callback(ACCOUNT, FOREIGN)
    program = {"accountName": ACCOUNT, "url": URL}
    found = lifecycle.read(harness.context, ID, program)
    assert found is not None
    assert found.inputs is None  # those of the program stay in the state
    assert (found.outputs["url"], found.outputs["password"]) == (FOREIGN.url, FOREIGN.password)
    assert set(found.secrets) == {"url", "password"}
    assert lifecycle.read(harness.context, ID, found.outputs) == found  # a refresh
    assert harness.logged == []
    assert lifecycle.read(harness.context, f"{ACCOUNT}/CarrierService", program) is None
    with pytest.raises(ThingSpaceError, match="is not the id of a registration"):
        lifecycle.read(harness.context, ACCOUNT, program)


def test_read_distinguishes_a_missing_registration_from_drift(harness: LifecycleHarness) -> None:
    outputs = lifecycle.create(harness.context, build_inputs()).outputs
    same = lifecycle.read(harness.context, ID, outputs)
    assert same is not None
    assert (same.outputs, same.inputs) == (outputs, build_inputs())
    harness.client.register_callback(ACCOUNT, FOREIGN)
    drifted = lifecycle.read(harness.context, ID, outputs)
    assert drifted is not None
    assert drifted.inputs is not None
    assert drifted.inputs["url"] == FOREIGN.url
    assert lifecycle.diff(drifted.outputs, build_inputs(), harness.fingerprint).changes
    harness.client.deregister_callback(ACCOUNT, SERVICE)
    assert lifecycle.read(harness.context, ID, outputs) is None


def test_drift_is_a_difference_even_to_the_values_that_the_program_wants(harness: LifecycleHarness) -> None:
    outputs = lifecycle.create(harness.context, build_inputs()).outputs
    wanted = build_inputs(password="another")
    harness.client.register_callback(ACCOUNT, Registration(SERVICE, URL, "plant-a", "another"))
    drifted = lifecycle.read(harness.context, ID, outputs)
    assert drifted is not None
    again = lifecycle.read(
        harness.context, ID, drifted.outputs
    )  # a second refresh finds no new drift and keeps the record of the first
    assert again is not None
    assert lifecycle.diff(again.outputs, wanted, harness.fingerprint).changes
    assert not lifecycle.diff(
        lifecycle.update(harness.context, again.outputs, wanted), wanted, harness.fingerprint
    ).changes


def test_delete_removes_only_its_own_registration(harness: LifecycleHarness, emulator: EmulatorProcess) -> None:
    outputs = lifecycle.create(harness.context, build_inputs()).outputs
    lifecycle.delete(harness.context, outputs)
    lifecycle.delete(harness.context, outputs)  # already gone
    assert emulator.count_calls()["deregisterCallback"] == 1
    harness.client.register_callback(ACCOUNT, FOREIGN)
    lifecycle.delete(harness.context, outputs)
    assert harness.client.list_callbacks(ACCOUNT) == [FOREIGN]
    assert "which another program registered" in harness.logged[-1]


def test_a_changed_base_url_registers_there_and_leaves_the_old_registration(
    harness: LifecycleHarness, emulator: EmulatorProcess
) -> None:
    olds = lifecycle.create(harness.context, build_inputs()).outputs
    before = emulator.count_calls()
    harness.base_url_fingerprint = "89abcdef"
    assert lifecycle.diff(olds, build_inputs(), harness.fingerprint).changes
    current = lifecycle.read(harness.context, ID, olds)
    assert current is not None
    assert (current.outputs, current.inputs) == (olds, build_inputs())
    lifecycle.delete(harness.context, olds)
    assert emulator.count_calls() == before
    assert all("it is at another ThingSpace (the base URL has changed)" in line for line in harness.logged)
    harness.client.deregister_callback(ACCOUNT, SERVICE)
    news = lifecycle.update(harness.context, olds, build_inputs())
    assert (
        "created here. The one at another ThingSpace (the base URL has changed) was not deleted." in harness.logged[-1]
    )
    assert not lifecycle.diff(news, build_inputs(), harness.fingerprint).changes
    assert len(harness.client.list_callbacks(ACCOUNT)) == 1


def test_a_changed_base_url_makes_the_recorded_url_a_conflict(harness: LifecycleHarness) -> None:
    olds = lifecycle.create(harness.context, build_inputs(url=FOREIGN.url)).outputs
    harness.client.register_callback(ACCOUNT, FOREIGN)
    harness.base_url_fingerprint = "89abcdef"
    with pytest.raises(RegistrationConflict):
        lifecycle.update(harness.context, olds, build_inputs())


@pytest.mark.parametrize("changes", [{}, {"url": f"{URL}/new"}])
def test_deleting_the_old_resource_keeps_the_replacement_that_the_same_update_created(
    harness: LifecycleHarness, emulator: EmulatorProcess, changes: dict[str, Any]
) -> None:
    """As after `pulumi up --replace`, a taint, or a new resource name without an alias."""
    old = RegistrationLifecycle().create(harness.context, build_inputs()).outputs
    update = RegistrationLifecycle()  # the provider process of the next update
    harness.time += dt.timedelta(minutes=1)
    new = update.create(harness.context, build_inputs(adopt=True, **changes)).outputs
    update.delete(harness.context, old)
    assert [entry.url for entry in harness.client.list_callbacks(ACCOUNT)] == [new["url"]]
    assert emulator.count_calls()["deregisterCallback"] == 0
    RegistrationLifecycle().delete(harness.context, new)
    assert harness.client.list_callbacks(ACCOUNT) == []
