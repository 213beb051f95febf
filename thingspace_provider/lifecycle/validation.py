"""Checks that several resources share: account names, profiles, callback credentials and URLs."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from thingspace_provider.common.urls import DEFAULT_PORTS
from thingspace_provider.lifecycle.model import CheckFailure, State, Unknown, is_unknown

# ThingSpace accepts these ports for new registrations and no others.
ACCEPTED_PORTS = frozenset({80, 443, *range(9001, 9007), *range(28200, 28221), *range(50551, 50560)})
ACCEPTED_PORTS_TEXT = "80, 443, 9001-9006, 28200-28220 or 50551-50559"
MAX_CREDENTIAL_LENGTH = 40  # characters, each of user name and password
PROFILE_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# The only values in these fields that ThingSpace's own pages get wrong or leave unclear.
MISLEADING_SERVICES = {
    "DeviceMessages": "ThingSpace's text names it, but it cannot be registered: use EnhancedConnectivityService",
    "AlertsService": "the name is AlertService",
    "SMS": "the service that carries device texts is EnhancedConnectivityService",
}


def is_accepted_port(value: object) -> bool:
    """Whether a value is a port number that ThingSpace accepts for callbacks."""
    return isinstance(value, int) and not isinstance(value, bool) and value in ACCEPTED_PORTS


def check_account_name(state: State, key: str = "accountName") -> list[CheckFailure]:
    """An account name is opaque text; a number has lost its leading zeros on the way."""
    return account_name_errors(key, state.get(key))


def account_name_errors(key: str, value: object) -> list[CheckFailure]:
    """What is wrong with one account name."""
    if is_unknown(value):
        return []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [
            CheckFailure(
                key,
                f"{value} is a number, and a number has no leading zeros: "
                'quote the account name, as "0000123456-00001"',
            )
        ]
    if not isinstance(value, str) or not value:
        return [CheckFailure(key, 'an account name is needed, as "0000123456-00001"')]
    if value != value.strip() or not value.isprintable() or "/" in value or " " in value:
        return [CheckFailure(key, f"{value!r} is not an account name: no spaces, slashes or control characters")]
    return []


def check_profile(state: State) -> list[CheckFailure]:
    """A profile becomes part of the names of environment variables."""
    value = state.get("profile")
    if value is None or is_unknown(value):
        return []
    if isinstance(value, str) and value.lower() == "listener":
        return [CheckFailure("profile", "listener is taken: THINGSPACE_LISTENER_PASSWORD is the listener's own")]
    if isinstance(value, str) and PROFILE_PATTERN.fullmatch(value):
        return []
    return [CheckFailure("profile", f"{value!r} is not a profile name: letters, digits and _, as plant_a")]


def check_credential(state: State, *keys: str) -> list[CheckFailure]:
    """User name and password that ThingSpace sends back: text of at most 40 characters each."""
    failures = []
    for key in keys:
        value = state.get(key)
        if value is None or is_unknown(value):
            continue
        if not isinstance(value, str):
            failures.append(CheckFailure("", f"{key} must be text"))
        elif len(value) > MAX_CREDENTIAL_LENGTH:
            failures.append(
                CheckFailure(
                    "", f"{key} is {len(value)} characters long; ThingSpace takes {MAX_CREDENTIAL_LENGTH} at most"
                )
            )
    return failures


def check_password_list(state: State, key: str) -> list[CheckFailure]:
    """A list of passwords, each as `credential` has it."""
    values = state.get(key)
    if values is None or isinstance(values, Unknown):
        return []
    if not isinstance(values, list):
        return [CheckFailure("", f"{key} must be a list")]
    return [failure for value in values for failure in check_credential({key: value}, key)]


def check_service_name(state: State) -> list[CheckFailure]:
    """Service names are case-sensitive words; the traps in ThingSpace's pages are named."""
    value = state.get("serviceName")
    if is_unknown(value):
        return []
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]+", value):
        return [CheckFailure("serviceName", f"{value!r} is not a service name, as EnhancedConnectivityService")]
    if value in MISLEADING_SERVICES:
        return [CheckFailure("serviceName", f"{value}: {MISLEADING_SERVICES[value]}")]
    return []


def check_callback_url(state: State) -> list[CheckFailure]:
    """A URL that ThingSpace will accept: http(s), a host, an accepted port, no user and no fragment.

    Reported under the key "", because the path may hold a token.
    """
    value = state.get("url")
    if is_unknown(value):
        return []
    error = callback_url_error(value)
    return [CheckFailure("", f"url: {error}")] if error else []


def callback_url_error(value: object) -> str | None:
    """What is wrong with a callback URL, without repeating it."""
    if not isinstance(value, str) or not value:
        return "a callback URL is needed, as https://sms.example.com/callbacks/0000123456-00001"
    try:
        parts = urlsplit(value)
    except ValueError:
        return "its host is not one: an IPv6 address stands between [ and ]"
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return "it must begin with http:// or https:// and a host name"
    try:
        port = DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        return "the port is not a number up to 65535"
    if not is_accepted_port(port):
        return f"port {port} is refused by ThingSpace for callbacks; it accepts {ACCEPTED_PORTS_TEXT}"
    if parts.username or parts.password:
        return "ThingSpace does no HTTP authentication: give username and password as inputs of their own"
    if parts.fragment or any(not c.isprintable() or c in " <>\\'" for c in value):
        return "it holds a fragment or a character that ThingSpace refuses"
    return None


def check_triggers(state: State) -> list[CheckFailure]:
    """Triggers are a list, as in every resource that runs again when a value changes."""
    value = state.get("triggers")
    if value is None or isinstance(value, list) or is_unknown(value):
        return []
    return [CheckFailure("triggers", 'a list is needed, as ["2026-03-01"]: a changed value sends startCallbacks again')]
