"""Pickled provider names in users' states. They must never change."""

from __future__ import annotations

import base64
import inspect

import dill
import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from thingspace_provider import providers

# Written by version 0.1.0. A line may be added here, never changed or removed: users' states hold these strings.
GOLDEN = {
    "SmsCallbackActivationProvider": (
        "gASVRgAAAAAAAACMHXRoaW5nc3BhY2VfcHJvdmlkZXIucHJvdmlkZXJzlIwdU21zQ2FsbGJhY2tBY3RpdmF0aW9uUHJvdmlkZXKUk5QpgZQu"
    ),
    "CallbackRegistrationProvider": (
        "gASVRQAAAAAAAACMHXRoaW5nc3BhY2VfcHJvdmlkZXIucHJvdmlkZXJzlIwcQ2FsbGJhY2tSZWdpc3RyYXRpb25Qcm92aWRlcpSTlCmBlC4="
    ),
    "CallbackCredentialProvider": (
        "gASVQwAAAAAAAACMHXRoaW5nc3BhY2VfcHJvdmlkZXIucHJvdmlkZXJzlIwaQ2FsbGJhY2tDcmVkZW50aWFsUHJvdmlkZXKUk5QpgZQu"
    ),
    "LocalListenerProvider": (
        "gASVPgAAAAAAAACMHXRoaW5nc3BhY2VfcHJvdmlkZXIucHJvdmlkZXJzlIwVTG9jYWxMaXN0ZW5lclByb3ZpZGVylJOUKYGULg=="
    ),
}


def find_provider_classes() -> dict[str, type[ResourceProvider]]:
    return {
        name: provider_class
        for name, provider_class in inspect.getmembers(providers, inspect.isclass)
        if issubclass(provider_class, ResourceProvider)
        and provider_class.__module__ == providers.__name__
        and not name.startswith("_")
    }


@pytest.mark.parametrize("name", GOLDEN)
def test_a_provider_is_pickled_as_its_name_and_nothing_else(name: str) -> None:
    assert serialize_provider(find_provider_classes()[name]()) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_every_pickled_string_loads(name: str) -> None:
    loaded = dill.loads(base64.b64decode(GOLDEN[name]))  # noqa: S301  our own strings, above
    assert type(loaded) is find_provider_classes()[name]


def test_every_provider_class_has_its_string_here() -> None:
    assert set(find_provider_classes()) == set(GOLDEN)


def test_a_pickled_provider_is_small_and_never_stored_as_a_secret() -> None:
    for name, provider in find_provider_classes().items():
        assert len(GOLDEN[name]) < 200
        assert provider.serialize_as_secret_always is False
