"""Listener hosts, without an engine."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from thingspace_provider.config.stack_settings import HostSettings
from thingspace_provider.hosting import ExternalListener, LocalListener, create_listener_host
from thingspace_provider.resources import CallbackCredential
from thingspace_provider.resources.base import InvalidArgument

ACCOUNT, OTHER_ACCOUNT = "0000123456-00001", "0000123456-00002"
URL = "https://sms.example.com/{account}"
CREDENTIAL = CallbackCredential.__new__(CallbackCredential)  # only passed on


@pytest.mark.parametrize("account_names", [ACCOUNT, None, [ACCOUNT, ACCOUNT], [12345600001]])
def test_local_listener_rejects_account_names_that_are_no_list_of_accounts(account_names: Any) -> None:
    with pytest.raises(InvalidArgument, match="LocalListener: account_names: "):
        LocalListener("listener", account_names=account_names, credential=CREDENTIAL)


def test_readiness_is_on_by_default_for_every_host() -> None:
    assert LocalListener.readiness
    assert ExternalListener(url=URL).readiness
    assert HostSettings("external", URL).readiness
    assert not ExternalListener(url=URL, readiness=False).readiness


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "https://h/{path_token}"}, r"a URL with \{path_token\} requires a credential"),
        ({"url": "https://h/{path_token}/{acount}"}, r"url holds \{acount\}, which is not replaced"),
        ({"url": "https://h/{}"}, r"url holds \{\}, which is not replaced"),
        ({"url": URL, "credential": "secret"}, "credential must be a CallbackCredential, not str"),
    ],
)
def test_external_listener_rejects_an_invalid_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        ExternalListener(**arguments)


@pytest.mark.filterwarnings("ignore:There is no current event loop")  # a program has one
def test_url_without_account_is_rejected_when_it_is_used_for_a_second_account() -> None:
    host = ExternalListener(url="https://sms.example.com/in")
    host.url_for(ACCOUNT)
    host.url_for(ACCOUNT)
    with pytest.raises(InvalidArgument, match=r"url is the same for 2 accounts: add \{account\}"):
        host.url_for(OTHER_ACCOUNT)


def test_local_listener_requires_a_credential() -> None:
    credential: Any = None
    with pytest.raises(InvalidArgument, match="LocalListener: credential must be a CallbackCredential, not NoneType"):
        LocalListener("listener", account_names=[ACCOUNT], credential=credential)


@pytest.mark.parametrize("readiness", [True, False])
def test_the_factory_creates_the_external_listener_of_the_settings(readiness: bool) -> None:
    settings = HostSettings("external", URL, readiness=readiness)
    host = create_listener_host("listener", settings, [ACCOUNT], CREDENTIAL)
    assert isinstance(host, ExternalListener)
    assert (host.url, host.readiness, host.revision) == (URL, readiness, "")


def build_host(url: pulumi.Output[str], revision: pulumi.Output[str]) -> ExternalListener:
    """Accept outputs, for the type checker."""
    return ExternalListener(url=url, revision=revision)
