"""CallbackRegistration without Pulumi: which calls it makes, what it protects, how it heals."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.lifecycle_harness import World
from thingspace_provider.api import Registration, errors
from thingspace_provider.lifecycle.registration import CallbackRegistration, RegisteredElsewhere

URL = "https://sms.example.com/callbacks/0000123456-00001"
FOREIGN = Registration(SERVICE, "https://other.example.com/hook", "somebody", "else")
it = CallbackRegistration()


def inputs(**other: Any) -> dict[str, Any]:
    given = {"accountName": ACCOUNT, "url": URL, "username": "plant-a", "password": "example-only", "readiness": False}
    checked = it.check(given | other)
    assert checked.failures == []
    return checked.inputs


def test_create_looks_and_registers(world: World, emulator: EmulatorProcess) -> None:
    created = it.create(world.context, inputs())
    assert created.id == f"{ACCOUNT}/{SERVICE}"
    assert created.outputs["registeredAt"] == "2026-03-01T12:00:00+00:00"
    calls = emulator.calls()
    assert (calls["listCallbacks"], calls["registerCallback"]) == (1, 1)


def test_create_after_an_interrupted_create_finds_its_own_and_registers_nothing(
    world: World, emulator: EmulatorProcess
) -> None:
    it.create(world.context, inputs())
    again = it.create(world.context, inputs())
    assert again.id == f"{ACCOUNT}/{SERVICE}"
    assert emulator.calls()["registerCallback"] == 1
    [said] = world.said
    assert "registered already as this program wants it; nothing was sent" in said


def test_an_empty_credential_is_the_same_as_none(world: World) -> None:
    outputs = it.create(world.context, inputs(username="", password="")).outputs
    same = it.read(world.context, outputs)
    assert same is not None
    assert not it.diff(same.outputs, inputs(username="", password=""), world.where).changes
    assert world.said == []


def test_create_renews_the_password_at_its_own_url(world: World) -> None:
    it.create(world.context, inputs())
    it.create(world.context, inputs(password="another"))
    assert world.client.list_callbacks(ACCOUNT)[0].password == "another"


def test_a_registration_of_another_service_is_not_in_the_way(world: World) -> None:
    world.client.register_callback(ACCOUNT, Registration("CarrierService", "https://other.example.com/carrier"))
    it.create(world.context, inputs())
    assert len(world.client.list_callbacks(ACCOUNT)) == 2


def test_several_services_of_an_account_live_and_end_side_by_side(world: World) -> None:
    it.create(world.context, inputs())
    confirmed = inputs(serviceName="SMSDeliveryConfirmation", url=URL + "/confirmed")
    outputs = it.create(world.context, confirmed).outputs
    it.update(world.context, outputs, confirmed | {"password": "another"})
    passwords = {entry.service_name: entry.password for entry in world.client.list_callbacks(ACCOUNT)}
    assert passwords == {SERVICE: "example-only", "SMSDeliveryConfirmation": "another"}
    it.delete(world.context, outputs)
    assert [entry.service_name for entry in world.client.list_callbacks(ACCOUNT)] == [SERVICE]


def test_an_update_refuses_a_third_url_that_nobody_has_seen(world: World) -> None:
    olds = it.create(world.context, inputs()).outputs
    world.client.register_callback(ACCOUNT, FOREIGN)
    with pytest.raises(RegisteredElsewhere, match=r"already go to https://other\.example\.com/hook"):
        it.update(world.context, olds, inputs(password="another"))
    assert world.client.list_callbacks(ACCOUNT) == [FOREIGN]


def test_an_update_that_finds_everything_right_sends_nothing_and_lets_the_activation_follow(
    world: World, emulator: EmulatorProcess
) -> None:
    olds = it.create(world.context, inputs()).outputs
    world.time += dt.timedelta(hours=1)
    news = it.update(world.context, olds | {"profile": "plant_a"}, inputs())
    assert news["registeredAt"] == "2026-03-01T13:00:00+00:00"
    assert emulator.calls()["registerCallback"] == 1


def test_a_renewal_that_fails_puts_the_old_registration_back(world: World, emulator: EmulatorProcess) -> None:
    olds = it.create(world.context, inputs()).outputs
    before = world.client.list_callbacks(ACCOUNT)
    emulator.fault("registerCallback", 400, {"errorCode": "X.INPUT_INVALID.Url", "errorMessage": "no"}, times=2)
    with pytest.raises(errors.InputRefused):
        it.update(world.context, olds, inputs(password="another"))
    assert world.client.list_callbacks(ACCOUNT) == before


def test_a_token_in_a_url_is_never_shown(world: World) -> None:
    token = "abcdefghijklmnopqrstuvwxyz0123456789"
    world.client.register_callback(ACCOUNT, Registration(SERVICE, f"https://other.example.com/{token}/x"))
    with pytest.raises(RegisteredElsewhere) as refused:
        it.create(world.context, inputs(url=f"https://sms.example.com/callbacks/{token}/{ACCOUNT}"))
    assert token not in str(refused.value)
    assert "https://sms.example.com/callbacks/***/0000123456-00001" in str(refused.value)


def test_read_tells_gone_from_drifted(world: World) -> None:
    outputs = it.create(world.context, inputs()).outputs
    same = it.read(world.context, outputs)
    assert same is not None
    assert (same.outputs, same.inputs) == (outputs, inputs())
    world.client.register_callback(ACCOUNT, FOREIGN)
    drifted = it.read(world.context, outputs)
    assert drifted is not None
    assert drifted.inputs["url"] == FOREIGN.url
    assert it.diff(drifted.outputs, inputs(), world.where).changes
    world.client.deregister_callback(ACCOUNT, SERVICE)
    assert it.read(world.context, outputs) is None


def test_drift_to_what_the_program_wants_by_now_is_a_change(world: World) -> None:
    outputs = it.create(world.context, inputs()).outputs
    wanted = inputs(password="another")
    world.client.register_callback(ACCOUNT, Registration(SERVICE, URL, "plant-a", "another"))
    drifted = it.read(world.context, outputs)
    assert drifted is not None
    again = it.read(world.context, drifted.outputs)  # a second refresh sees nothing new, and forgets nothing
    assert again is not None
    assert it.diff(again.outputs, wanted, world.where).changes
    assert not it.diff(it.update(world.context, again.outputs, wanted), wanted, world.where).changes


def test_delete_takes_only_what_is_there_and_ours(world: World, emulator: EmulatorProcess) -> None:
    outputs = it.create(world.context, inputs()).outputs
    it.delete(world.context, outputs)
    it.delete(world.context, outputs)  # already gone
    assert emulator.calls()["deregisterCallback"] == 1
    world.client.register_callback(ACCOUNT, FOREIGN)
    it.delete(world.context, outputs)
    assert world.client.list_callbacks(ACCOUNT) == [FOREIGN]
    assert "left as it is" in world.said[-1]


def test_at_another_thingspace_it_is_registered_and_nothing_else_is_touched(
    world: World, emulator: EmulatorProcess
) -> None:
    olds = it.create(world.context, inputs()).outputs
    before = emulator.calls()
    world.thingspace = "there"
    assert it.diff(olds, inputs(), world.where).changes
    kept = it.read(world.context, olds)
    assert kept is not None
    assert (kept.outputs, kept.inputs) == (olds, inputs())
    it.delete(world.context, olds)
    assert emulator.calls() == before
    assert all("is at another ThingSpace (the base URL has changed)" in said for said in world.said)
    world.client.deregister_callback(ACCOUNT, SERVICE)
    news = it.update(world.context, olds, inputs())
    assert "registered here; there, nothing was deregistered" in world.said[-1]
    assert not it.diff(news, inputs(), world.where).changes
    assert len(world.client.list_callbacks(ACCOUNT)) == 1


def test_at_another_thingspace_the_url_that_was_remembered_is_not_ours(world: World) -> None:
    olds = it.create(world.context, inputs(url=FOREIGN.url)).outputs
    world.client.register_callback(ACCOUNT, FOREIGN)
    world.thingspace = "there"
    with pytest.raises(RegisteredElsewhere):
        it.update(world.context, olds, inputs())


def test_a_state_that_does_not_tell_its_thingspace_is_here(world: World) -> None:
    olds = it.create(world.context, inputs()).outputs
    del olds["place"]
    world.thingspace = "there"
    assert not it.diff(olds, inputs(), world.where).changes
    it.delete(world.context, olds)
    assert world.client.list_callbacks(ACCOUNT) == []
