"""Listener hosts, without an engine."""

from __future__ import annotations

import pytest

from thingspace_provider.config.stack_settings import HostSettings
from thingspace_provider.hosting import ExternalListener, LocalListener, create_listener_host
from thingspace_provider.resources import CallbackCredential

ACCOUNT = "0000123456-00001"
URL = "https://sms.example.com/{account}"


def test_readiness_is_on_for_a_local_listener_and_optional_for_an_external_one() -> None:
    assert LocalListener.readiness
    assert not ExternalListener(url=URL).readiness
    assert ExternalListener(url=URL, readiness=True).readiness


def test_a_url_with_a_path_token_requires_a_credential() -> None:
    with pytest.raises(ValueError, match="requires a credential"):
        ExternalListener(url="https://sms.example.com/{path_token}")


@pytest.mark.parametrize("readiness", [True, False])
def test_the_factory_creates_the_external_listener_of_the_settings(readiness: bool) -> None:
    settings = HostSettings("external", URL, readiness=readiness)
    credential = CallbackCredential.__new__(CallbackCredential)  # not used, because the URL holds no path token
    host = create_listener_host("listener", settings, [ACCOUNT], credential)
    assert isinstance(host, ExternalListener)
    assert (host.url, host.readiness, host.revision) == (URL, readiness, "")
