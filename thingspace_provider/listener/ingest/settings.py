"""Settings of the callback endpoint: accounts, credential, path token and source addresses."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from thingspace_provider.listener.setting_types import (
    InvalidValue,
    Secret,
    Setting,
    SettingsModel,
    Text,
    Token,
    parse_json,
    split_commas,
)

OFF, LOG, ENFORCE = ("off", "log", "enforce")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MIN_PASSWORD_LENGTH, MIN_CHARACTERS = 16, 8
TRIVIAL_WORDS = re.compile("password|thingspace|verizon|callback|listener|change|secret|example|admin|qwert|abcd|1234")
# Published by ThingSpace. They belong to public clouds: they filter callbacks, and authenticate none.
PUBLISHED_ADDRESSES = (
    "3.87.163.45",
    "3.91.119.203",
    "54.197.62.209",
    "35.165.205.14",
    "54.200.43.232",
    "34.216.81.234",
    "137.117.33.109",
    "168.62.173.153",
)


def _reject_number(value: object) -> object:
    if isinstance(value, int | float):
        raise InvalidValue(
            f"{value} is a number, and a number has no leading zeros, which belong to an account name: quote it"
        )
    return value


def _check_account(name: str) -> str:
    account = name.strip()
    if not account or not account.isprintable():
        raise InvalidValue("an account name is empty or has characters that do not print")
    return account


def parse_network(value: object) -> Network:
    """Return an address or a network. Raises InvalidValue."""
    try:
        return ipaddress.ip_network(str(value).strip())
    except ValueError as error:
        raise InvalidValue(f"must be addresses or networks: {error}") from None


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return each name once, in order of first use."""
    return tuple(dict.fromkeys(names))


def _without_empty(passwords: tuple[str, ...]) -> tuple[str, ...]:
    """Return the passwords that are not empty."""
    return tuple(password for password in passwords if password)


def parse_off(value: object) -> object:
    """Return "off" for the False that YAML 1.1 makes of an unquoted off."""
    return OFF if value is False else value


def check_strength(password: str) -> str:
    """Return the password. Raises InvalidValue if it could be guessed from a proof of the readiness probe."""
    if len(password) < MIN_PASSWORD_LENGTH or len(set(TRIVIAL_WORDS.sub("", password.lower()))) < MIN_CHARACTERS:
        raise InvalidValue(
            f"is too easy to guess: use {MIN_PASSWORD_LENGTH} to 40 characters, of which {MIN_CHARACTERS} differ, not "
            "counting words such as password"
        )
    return password


Account = Annotated[Text, AfterValidator(_check_account), BeforeValidator(_reject_number)]


class AccountSettings(SettingsModel):
    """The accounts of this listener."""

    accounts: Annotated[
        tuple[Account, ...],
        Field(strict=False),
        AfterValidator(_without_repeats),
        Setting('["0000123456-00001"]', split_commas),
    ]


class IngestSettings(AccountSettings):
    """Settings of the callback endpoint.

    `previous_passwords` are accepted like `password`, for a rotation. `trusted_proxy_hops` is the number of own
    proxies in front of the listener, each of which appends to X-Forwarded-For.
    """

    username: Annotated[Text, Setting('"plant-a"')]
    password: Annotated[
        Secret, AfterValidator(check_strength), Setting("the password that is registered with ThingSpace")
    ]
    previous_passwords: Annotated[
        tuple[Text, ...],
        Field(strict=False, repr=False),
        AfterValidator(_without_empty),
        Setting('["the password before the last rotation"]', parse_json),
    ] = ()
    path_token: Annotated[Token, Setting("what `python -c 'import secrets; print(secrets.token_urlsafe(24))'` prints")]
    source_address_policy: Annotated[
        Literal["off", "log", "enforce"], BeforeValidator(parse_off), Setting('"enforce"')
    ] = "log"
    allowed_source_addresses: Annotated[
        tuple[Annotated[Network, PlainValidator(parse_network)], ...],
        Field(strict=False),
        Setting('["198.51.100.7", "203.0.113.0/24"]', split_commas),
    ] = tuple(parse_network(address) for address in PUBLISHED_ADDRESSES)
    trusted_proxy_hops: Annotated[int, Field(ge=0, le=10), Setting("1", parse_json)] = 0
