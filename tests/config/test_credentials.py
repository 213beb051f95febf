"""Sources of credentials, and the errors when they are missing."""

from __future__ import annotations

import json
import os

import pytest

from thingspace_provider.api import PRODUCTION_BASE_URL
from thingspace_provider.api.client_cache import ClientCache
from thingspace_provider.api.errors import CredentialsMissing, InvalidSetting
from thingspace_provider.config.credentials import base_url_fingerprint, find_sources, resolve_credentials

ENVIRONMENT = {
    "THINGSPACE_APP_KEY": "key",
    "THINGSPACE_APP_SECRET": "secret",
    "THINGSPACE_USERNAME": "user",
    "THINGSPACE_PASSWORD": "sentinel-password",
}
CONFIG = {
    "thingspace:appKey": "configured-key",
    "thingspace:appSecret": "configured-secret",
    "thingspace:username": "configured-user",
    "thingspace:password": "configured-password",
    "thingspace:baseUrl": "https://thingspace.example.com/api",
}


def return_none(_key: str) -> None:
    """A stack without configuration."""


def test_the_environment_wins_key_by_key() -> None:
    resolved = resolve_credentials(None, {"THINGSPACE_USERNAME": "today"}, CONFIG.get)
    assert (resolved.app_key, resolved.username, resolved.base_url) == (
        "configured-key",
        "today",
        CONFIG["thingspace:baseUrl"],
    )


def test_the_default_base_url_is_production() -> None:
    assert resolve_credentials(None, ENVIRONMENT, return_none).base_url == PRODUCTION_BASE_URL


def test_an_empty_variable_is_not_a_credential() -> None:
    with pytest.raises(CredentialsMissing, match="missing THINGSPACE_PASSWORD"):
        resolve_credentials(None, {**ENVIRONMENT, "THINGSPACE_PASSWORD": ""}, return_none)


@pytest.mark.parametrize("name", ["APP_KEY", "APP_SECRET", "USERNAME", "PASSWORD", "BASE_URL"])
def test_a_credential_that_is_not_utf8_is_named_and_not_shown(name: str) -> None:
    given = os.fsdecode(b"https://sentinel.example/\xff")
    with pytest.raises(InvalidSetting, match=f"is not valid UTF-8. Set THINGSPACE_{name}") as unusable:
        resolve_credentials(None, {**ENVIRONMENT, f"THINGSPACE_{name}": given}, return_none)
    assert "sentinel" not in str(unusable.value)


def test_a_profile_has_variables_and_configuration_of_its_own() -> None:
    profiles = {"plant_a": {"appKey": "a", "appSecret": "b", "username": "c", "password": "d"}}
    config = {**CONFIG, "thingspace:profiles": json.dumps(profiles)}
    resolved = resolve_credentials("plant_a", {"THINGSPACE_PLANT_A_PASSWORD": "today"}, config.get)
    assert (resolved.app_key, resolved.password, resolved.base_url) == ("a", "today", CONFIG["thingspace:baseUrl"])


def test_a_profile_does_not_inherit_the_default_password() -> None:
    with pytest.raises(CredentialsMissing, match="THINGSPACE_PLANT_A_PASSWORD") as missing:
        resolve_credentials("plant_a", ENVIRONMENT, CONFIG.get)
    assert "sentinel" not in str(missing.value)


def test_profiles_of_a_wrong_type_are_reported() -> None:
    with pytest.raises(InvalidSetting, match="not a map"):
        resolve_credentials("plant_a", {}, {"thingspace:profiles": "[1"}.get)


def test_equal_credentials_share_a_client_and_others_do_not() -> None:
    clients = ClientCache()
    first = clients.get(resolve_credentials(None, ENVIRONMENT, return_none))
    assert clients.get(resolve_credentials(None, ENVIRONMENT, return_none)) is first
    assert (
        clients.get(resolve_credentials(None, {**ENVIRONMENT, "THINGSPACE_PASSWORD": "new"}, return_none)) is not first
    )


def test_every_origin_of_a_setting_is_found_and_the_first_wins() -> None:
    sources_by_name = find_sources(
        "plant_a", {"THINGSPACE_PLANT_A_USERNAME": "today", "THINGSPACE_BASE_URL": "http://[::1]"}, return_none
    )
    assert {name: [source.origin for source in origins] for name, origins in sources_by_name.items()} == {
        "app_key": [],
        "app_secret": [],
        "username": ["environment variable THINGSPACE_PLANT_A_USERNAME"],
        "password": [],
        "base_url": ["environment variable THINGSPACE_BASE_URL", "default"],
    }
    both = find_sources(None, ENVIRONMENT, CONFIG.get)["password"]
    assert [source.origin for source in both] == [
        "environment variable THINGSPACE_PASSWORD",
        "stack config thingspace:password",
    ]
    assert "sentinel" not in repr(both)


@pytest.mark.parametrize(
    "other",
    [
        "HTTPS://thingspace.example.com/api",
        "https://ThingSpace.Example.COM/api/",
        "https://thingspace.example.com:443/api",
        "https://user:word@thingspace.example.com/api",
        "https://thingspace.example.com./api",
    ],
)
def test_a_fingerprint_is_the_same_for_every_spelling_of_a_base_url(other: str) -> None:
    first, second = (
        base_url_fingerprint(None, {"THINGSPACE_BASE_URL": url}, return_none)
        for url in ("https://thingspace.example.com/api", other)
    )
    assert first == second


@pytest.mark.parametrize(
    "other", ["http://thingspace.example.com/api", "https://thingspace.example.com:8443/api", "https://[::1/api"]
)
def test_a_fingerprint_differs_for_another_base_url(other: str) -> None:
    first, second = (
        base_url_fingerprint(None, {"THINGSPACE_BASE_URL": url}, return_none)
        for url in ("https://thingspace.example.com/api", other)
    )
    assert first != second
