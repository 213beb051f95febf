"""Arguments of SmsCallbacks, without an engine: invalid ones are rejected before anything is created."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pulumi
import pytest

from thingspace_provider.hosting import ExternalListener
from thingspace_provider.resources import CallbackCredential, SmsCallbacks
from thingspace_provider.resources.base import InvalidArgument

ACCOUNTS = ["0000123456-00001", "0000123456-00002"]
CREDENTIAL = CallbackCredential.__new__(CallbackCredential)  # only passed on
LIST = 'account_names: must be a list, for example ["0000123456-00001"]'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"account_names": ACCOUNTS[0]}, LIST),
        ({"account_names": None}, LIST),
        ({"account_names": lambda: pulumi.Output.from_input(ACCOUNTS)}, "must be known when the program runs"),
        ({"account_names": [*ACCOUNTS, ACCOUNTS[0]]}, f"account_names: names {ACCOUNTS[0]} more than once"),
        ({"account_names": [12345600001]}, "is a number and has no leading zeros"),
        ({"account_names": lambda: [pulumi.Output.from_input("x")]}, "must be an account name"),
        ({"listener": "https://sms.example.com"}, "listener must be a listener host such as LocalListener"),
        ({"listener": None}, "not NoneType"),
        ({"listener": lambda: ExternalListener(url="https://sms.example.com")}, "url is the same for 2 accounts"),
        ({"credential": None}, "SmsCallbacks: credential must be a CallbackCredential, not NoneType"),
        ({"opts": pulumi.ResourceOptions(import_="x")}, "set adopt=True"),
        ({"triggers": "2026-03-01"}, "triggers must be a list"),
    ],
)
def test_invalid_argument_is_rejected(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "account_names": ACCOUNTS,
        "listener": ExternalListener(url="https://sms.example.com/{account}"),
        "credential": CREDENTIAL,
    }

    async def run_program() -> None:  # an Output needs an event loop
        SmsCallbacks("sms", **arguments | {key: it() if callable(it) else it for key, it in changes.items()})

    loop = asyncio.new_event_loop()  # asyncio.run would remove the loop that the SDK's mocks use in the next tests
    with contextlib.closing(loop), pytest.raises(InvalidArgument) as error:
        loop.run_until_complete(run_program())
    assert message in str(error.value)
