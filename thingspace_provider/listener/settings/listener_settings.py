"""The listener's settings: environment over file, options over both, validated into one frozen object.

| key in the file | in the environment | option |
|---|---|---|
| accounts (list) | THINGSPACE_LISTENER_ACCOUNTS (comma-separated) | |
| username | THINGSPACE_LISTENER_USERNAME | |
| password | THINGSPACE_LISTENER_PASSWORD | |
| previousPasswords (list) | THINGSPACE_LISTENER_PREVIOUS_PASSWORDS (JSON) | |
| pathToken | THINGSPACE_LISTENER_PATH_TOKEN | |
| apiToken | THINGSPACE_LISTENER_API_TOKEN | |
| store | THINGSPACE_LISTENER_STORE | --store |
| sinks (list) | THINGSPACE_LISTENER_SINKS (JSON) | |
| recoveryMode, recoveryDelaySeconds, recoveryIntervalSeconds, thingspaceCredentials | see `recovery/settings.py` | |
| sourceAddressPolicy, allowedSourceAddresses (list), trustedProxyHops, minFreeDiskSpace, retentionDays | | |
| host, port, publicUrl | | --host, --port, --public-url |

An empty value counts as not set. No message repeats the value of a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from thingspace_provider.common.urls import InvalidUrl, parse_http_url
from thingspace_provider.listener.forwarding.sinks.settings import SinkSettings, parse_sinks
from thingspace_provider.listener.ingest import source_addresses as origins
from thingspace_provider.listener.recovery import settings as healing
from thingspace_provider.listener.settings.settings_file import InvalidSettings, read_settings_file
from thingspace_provider.listener.settings.values import InvalidValue, describe_type, parse_number, parse_text
from thingspace_provider.listener.store import disk_space
from thingspace_provider.listener.store.store_url import parse_store_url

MAX_PORT = 65535
MAX_RETENTION_DAYS = 36_500
TOKEN_PATTERN = re.compile(r"[A-Za-z0-9_~.-]{16,200}")
ENVIRONMENT_VARIABLES = {
    "accounts": "THINGSPACE_LISTENER_ACCOUNTS",
    "username": "THINGSPACE_LISTENER_USERNAME",
    "password": "THINGSPACE_LISTENER_PASSWORD",
    "previousPasswords": "THINGSPACE_LISTENER_PREVIOUS_PASSWORDS",
    "pathToken": "THINGSPACE_LISTENER_PATH_TOKEN",
    "apiToken": "THINGSPACE_LISTENER_API_TOKEN",
    "store": "THINGSPACE_LISTENER_STORE",
    "sinks": "THINGSPACE_LISTENER_SINKS",
    "recoveryMode": "THINGSPACE_LISTENER_RECOVERY_MODE",
}
EXAMPLES = {
    "accounts": '["0000123456-00001"]',
    "username": '"plant-a"',
    "password": "the password that ThingSpace was told at registration",
    "previousPasswords": '["the password before the last rotation"]',
    "pathToken": "what `python -c 'import secrets; print(secrets.token_urlsafe(24))'` prints",
    "apiToken": "what `python -c 'import secrets; print(secrets.token_urlsafe(24))'` prints",
    "store": '"sqlite:////var/lib/thingspace/inbox.sqlite3"',
    "sinks": '[{"name": "hub", "kind": "http", "url": "https://hub.example.com/sms", "secrets": ["whsec_…"]}]',
    "recoveryMode": '"startCallbacks"',
    "recoveryDelaySeconds": "10",
    "recoveryIntervalSeconds": "900",
    "thingspaceCredentials": '{"appKey": "…", "appSecret": "…", "username": "…", "password": "…"}',
    "sourceAddressPolicy": '"enforce"',
    "allowedSourceAddresses": '["198.51.100.7", "203.0.113.0/24"]',
    "trustedProxyHops": "1",
    "minFreeDiskSpace": '"100MB"',
    "retentionDays": "90",
    "host": '"127.0.0.1"',
    "port": "28200",
    "publicUrl": '"https://sms.example.com"',
}
REQUIRED_KEYS = ("accounts", "username", "password", "pathToken", "store")
DEFAULTS: dict[str, Any] = {
    "previousPasswords": (),
    "apiToken": "",
    "sinks": (),
    "recoveryMode": healing.OFF,
    "recoveryDelaySeconds": healing.DEFAULT_DELAY_SECONDS,
    "recoveryIntervalSeconds": healing.DEFAULT_INTERVAL_SECONDS,
    "thingspaceCredentials": {},
    "sourceAddressPolicy": origins.LOG,
    "allowedSourceAddresses": origins.parse_addresses(list(origins.PUBLISHED_ADDRESSES)),
    "trustedProxyHops": 0,
    "minFreeDiskSpace": disk_space.parse_disk_space("100MB"),
    "retentionDays": 0.0,
    "host": "127.0.0.1",
    "port": 28200,
    "publicUrl": "",
}


@dataclass(frozen=True)
class ListenerSettings:
    """What a listener needs to know. Secrets stay out of its repr."""

    accounts: tuple[str, ...]
    username: str
    password: str = field(repr=False)
    previous_passwords: tuple[str, ...] = field(repr=False)  # each of them is good
    path_token: str = field(repr=False)
    api_token: str = field(repr=False)  # "" when nobody may read messages over HTTP
    store: str = field(repr=False)  # may hold a password: see store_address.shown
    sinks: tuple[SinkSettings, ...]  # where texts are forwarded to; none: readers fetch them
    recovery_mode: str  # one of healing_settings.MODES
    recovery_delay_seconds: float
    recovery_interval_seconds: float
    thingspace_credentials: Mapping[str, str] = field(
        repr=False
    )  # complete when heal is on; by the keys of the settings file
    source_address_policy: str  # one of sources.MODES
    allowed_source_addresses: tuple[origins.Network, ...]
    trusted_proxy_hops: int  # proxies of ours in front, each of which writes X-Forwarded-For
    min_free_disk_space: disk_space.MinFreeDiskSpace  # below which it is not ready
    retention_days: float  # 0 keeps everything for ever
    host: str
    port: int  # 0 lets the system choose
    public_url: str  # "" when the listener is reached directly

    def build_callback_urls(self, url: str) -> dict[str, str]:
        """The callback URL of each account, by account. They hold the path token."""
        base = self.public_url or url
        return {name: f"{base}/callbacks/{self.path_token}/{quote(name, safe='')}" for name in self.accounts}


def load_settings(path: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]) -> ListenerSettings:
    """Read, merge and validate; `options` has keys of the file, None where an option was not given.

    Raises BadSettings with one line per problem.
    """
    given = {key: (value, f"settings file {path}") for key, value in read_settings_file(path, list(EXAMPLES)).items()}
    for key, variable in ENVIRONMENT_VARIABLES.items():
        if environment.get(variable):
            given[key] = (environment[variable], f"environment variable {variable}")
    given |= {key: (value, f"option --{_to_kebab_case(key)}") for key, value in options.items() if value is not None}
    values: dict[str, Any] = dict(DEFAULTS)
    errors = []
    for key, example in EXAMPLES.items():
        value, origin = given.get(key, (None, ""))
        if value in (None, "", []):
            if key in REQUIRED_KEYS:
                errors.append(_format_missing(key, origin))
            continue
        try:
            values[key] = PARSERS[key](value)
        except InvalidValue as error:
            errors.append(f"{key} ({origin}): {error}. Example: {example}")
    if values["recoveryMode"] != healing.OFF:
        values["thingspaceCredentials"], missing = healing.merge_environment(
            values["thingspaceCredentials"], environment
        )
        errors += missing
    if errors:
        raise InvalidSettings(errors)
    return ListenerSettings(**{_to_snake_case(key): value for key, value in values.items()})


def _format_missing(key: str, origin: str) -> str:
    options = [f"{key} in the settings file"]
    if key in ENVIRONMENT_VARIABLES:
        options.append(f"{ENVIRONMENT_VARIABLES[key]} in the environment")
    state = f"empty ({origin})" if origin else "not set"
    return f"{key} is {state}: give {' or '.join(options)}. Example: {EXAMPLES[key]}"


def _parse_accounts(value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list):
        raise InvalidValue(f"must be a list of account names, not {describe_type(value)}")
    return tuple(dict.fromkeys(_parse_account(name) for name in names))


def _parse_account(name: object) -> str:
    if isinstance(name, int | float):
        raise InvalidValue(
            f"{name} is a number, and a number has no leading zeros, which belong to an account name: quote it"
        )
    account = parse_text(name).strip()
    if not account or not account.isprintable():
        raise InvalidValue("an account name is empty or has characters that do not print")
    return account


def _parse_token(value: object) -> str:
    token = parse_text(value)
    if not TOKEN_PATTERN.fullmatch(token):
        raise InvalidValue("must be 16 to 200 letters, digits, '-', '_', '.' or '~', so that it fits a URL unchanged")
    return token


def _parse_passwords(value: object) -> tuple[str, ...]:
    """Passwords, or their JSON. Raises InvalidValue."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidValue("is not valid JSON") from None
    if not isinstance(value, list):
        raise InvalidValue(f"must be a list of passwords, not {describe_type(value)}")
    return tuple(parse_text(password) for password in value if password != "")


def _parse_port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_PORT:
        raise InvalidValue(f"must be a number from 0 (any free port) to {MAX_PORT}")
    return value


def _parse_public_url(value: object) -> str:
    url = parse_text(value).rstrip("/")
    try:
        parse_http_url(url)
    except InvalidUrl as error:
        raise InvalidValue(f"must be an http(s) URL: {error}") from None
    return url


PARSERS: dict[str, Callable[[object], Any]] = {
    "accounts": _parse_accounts,
    "username": parse_text,
    "password": parse_text,
    "previousPasswords": _parse_passwords,
    "pathToken": _parse_token,
    "apiToken": _parse_token,
    "store": parse_store_url,
    "sinks": parse_sinks,
    "recoveryMode": healing.parse_mode,
    "recoveryDelaySeconds": healing.parse_delay_seconds,
    "recoveryIntervalSeconds": healing.parse_interval_seconds,
    "thingspaceCredentials": healing.parse_credentials,
    "sourceAddressPolicy": origins.parse_mode,
    "allowedSourceAddresses": origins.parse_addresses,
    "trustedProxyHops": origins.parse_hops,
    "minFreeDiskSpace": disk_space.parse_disk_space,
    "retentionDays": lambda value: parse_number(value, 0, MAX_RETENTION_DAYS),
    "host": parse_text,
    "port": _parse_port,
    "publicUrl": _parse_public_url,
}


def _to_snake_case(key: str) -> str:
    return re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", key)


def _to_kebab_case(key: str) -> str:
    return _to_snake_case(key).replace("_", "-")
