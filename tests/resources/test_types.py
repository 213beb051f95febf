"""Resource types and constructors, without an engine."""

from __future__ import annotations

import sys

import pulumi
import pytest

import thingspace_provider
from thingspace_provider.hosting import LocalListener
from thingspace_provider.resources import CallbackCredential, CallbackRegistration, SmsCallbackActivation
from thingspace_provider.resources.base import InvalidArgument, Resource, to_camel_case

RESOURCES: list[type[Resource]] = [CallbackCredential, CallbackRegistration, LocalListener, SmsCallbackActivation]


def type_name(resource: type[Resource]) -> str:
    return resource._resource_type_name  # noqa: SLF001  the SDK offers no other way to ask


@pytest.mark.parametrize("name", thingspace_provider.__all__)
def test_every_public_name_is_exported(name: str) -> None:
    assert getattr(thingspace_provider, name).__name__ == name


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SmsCallback'"):
        thingspace_provider.SmsCallback  # noqa: B018


@pytest.mark.parametrize("resource", RESOURCES)
def test_the_resource_type_is_the_documented_one(resource: type[Resource]) -> None:
    assert type_name(resource) == f"dynamic/thingspace:{resource.__name__}"


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_subclass_keeps_the_resource_type_of_its_parent(resource: type[Resource]) -> None:
    derived: type[Resource] = type("Mine", (resource,), {})
    assert type_name(derived) == type_name(resource)


def test_names_become_camel_case_in_the_state() -> None:
    assert [to_camel_case(name) for name in ("url", "account_name", "last_activated_at")] == [
        "url",
        "accountName",
        "lastActivatedAt",
    ]


def test_import_is_rejected_with_the_alternative() -> None:
    """The SDK ends in a KeyError: the engine imports without the inputs, which hold the pickled provider."""
    opts = pulumi.ResourceOptions(import_="0000123456-00001/EnhancedConnectivityService")
    with pytest.raises(InvalidArgument, match="to take over an existing registration, set adopt=True"):
        CallbackRegistration("one", account_name="0000123456-00001", url="https://sms.example.com", opts=opts)


@pytest.mark.parametrize("limit", [None, 5])
def test_the_constructor_of_a_resource_restores_the_traceback_limit(
    monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    if limit is not None:
        monkeypatch.setattr(sys, "tracebacklimit", limit, raising=False)
    with pytest.raises(TypeError, match="resource name"):
        CallbackCredential("")
    assert getattr(sys, "tracebacklimit", None) == limit
