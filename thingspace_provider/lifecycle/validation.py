"""Validation shared by resources and stack files: account names, profiles, callback credentials and URLs."""

from __future__ import annotations

import re

from thingspace_provider.common.urls import InvalidUrl, effective_port, parse_http_url
from thingspace_provider.lifecycle.model import CheckFailure, State, Unknown, is_unknown

ACCEPTED_PORTS = frozenset({80, 443, *range(9001, 9007), *range(28200, 28221), *range(50551, 50560)})
ACCEPTED_PORTS_TEXT = "80, 443, 9001-9006, 28200-28220 or 50551-50559"
PLACEHOLDERS = frozenset({"{account}", "{path_token}"})  # of the URL of an external listener
REJECTED_CHARACTERS = "<>\\'"  # in a callback URL
MAX_CREDENTIAL_LENGTH = 40  # characters, for the user name and for the password
TRIGGERS_REASON = 'must be a list, for example ["2026-03-01"], or a dictionary'
PROFILE_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# Values that ThingSpace's documentation names although they cannot be registered.
MISLEADING_SERVICES = {
    "DeviceMessages": "ThingSpace's documentation names it, but it cannot be registered: use EnhancedConnectivityService",  # noqa: E501
    "AlertsService": "the name is AlertService",
    "SMS": "the service for device messages is EnhancedConnectivityService",
}


def is_accepted_port(value: object) -> bool:
    """Return whether ThingSpace accepts the value as the port of a callback URL."""
    return isinstance(value, int) and not isinstance(value, bool) and value in ACCEPTED_PORTS


def describe_rejected_port(value: object) -> str:
    """Return the reason for a port that is_accepted_port denies."""
    return f"ThingSpace rejects port {value} for callbacks; it accepts {ACCEPTED_PORTS_TEXT}"


def check_account_name(state: State) -> list[CheckFailure]:
    """Validate `accountName`."""
    return account_name_errors("accountName", state.get("accountName"))


def account_name_errors(key: str, value: object) -> list[CheckFailure]:
    """Validate one account name. It is opaque text: a number has lost its leading zeros."""
    if is_unknown(value):
        return []
    if isinstance(value, int | float) and not isinstance(value, bool):
        reason = f'{value} is a number and has no leading zeros. Quote the account name, for example "0000123456-00001"'
    elif not isinstance(value, str) or not value:
        reason = 'must be an account name, for example "0000123456-00001"'
    elif value != value.strip() or not value.isprintable() or "/" in value or " " in value:
        reason = f"{value!r} is not an account name: it must not contain spaces, slashes or control characters"
    else:
        return []
    return [CheckFailure(key, reason)]


def check_profile(state: State) -> list[CheckFailure]:
    """Validate `profile`, which becomes part of the names of environment variables."""
    value = state.get("profile")
    if value is None or is_unknown(value):
        return []
    if isinstance(value, str) and value.lower() == "listener":
        reason = "listener is reserved: THINGSPACE_LISTENER_PASSWORD is a setting of the listener"
        return [CheckFailure("profile", reason)]
    if isinstance(value, str) and PROFILE_PATTERN.fullmatch(value):
        return []
    reason = f"{value!r} is not a profile name: use letters, digits and _, for example plant_a"
    return [CheckFailure("profile", reason)]


def check_credential(state: State, *keys: str) -> list[CheckFailure]:
    """Validate user names and passwords: text of at most 40 characters. The failures have the key ""."""
    failures = []
    for key in keys:
        value = state.get(key)
        if value is None or is_unknown(value):
            continue
        if not isinstance(value, str):
            failures.append(CheckFailure("", f"{key} must be text"))
        elif len(value) > MAX_CREDENTIAL_LENGTH:
            reason = f"{key} is {len(value)} characters long; ThingSpace accepts at most {MAX_CREDENTIAL_LENGTH}"
            failures.append(CheckFailure("", reason))
    return failures


def check_password_list(state: State, key: str) -> list[CheckFailure]:
    """Validate a list of passwords, each as check_credential does."""
    values = state.get(key)
    if values is None or isinstance(values, Unknown):
        return []
    if not isinstance(values, list):
        return [CheckFailure("", f"{key} must be a list")]
    return [failure for value in values for failure in check_credential({key: value}, key)]


def check_service_name(state: State) -> list[CheckFailure]:
    """Validate `serviceName`, a case-sensitive word."""
    value = state.get("serviceName")
    if is_unknown(value):
        return []
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]+", value):
        reason = f"{value!r} is not a service name such as EnhancedConnectivityService"
        return [CheckFailure("serviceName", reason)]
    if value in MISLEADING_SERVICES:
        return [CheckFailure("serviceName", f"{value}: {MISLEADING_SERVICES[value]}")]
    return []


def check_callback_url(state: State) -> list[CheckFailure]:
    """Validate `url`. The failure has the key "", because the path may hold a token."""
    value = state.get("url")
    if is_unknown(value):
        return []
    error = callback_url_error(value)
    return [CheckFailure("", f"url: {error}")] if error else []


def callback_url_error(value: object) -> str | None:
    """Return why ThingSpace would reject a callback URL, or None. Does not repeat the URL."""
    if not isinstance(value, str) or not value:
        return "must be a callback URL, for example https://sms.example.com/callbacks/0000123456-00001"
    try:
        parts = parse_http_url(value, allow_query=True, allow_userinfo=True)
    except InvalidUrl as error:
        return str(error)
    if not is_accepted_port(effective_port(parts)):
        return describe_rejected_port(effective_port(parts))
    if parts.username is not None or parts.password is not None:
        return "ThingSpace sends no HTTP authentication: set the inputs username and password instead"
    if placeholders := _placeholders(value):
        return f"it holds {', '.join(sorted(placeholders))}, which is not replaced"
    if any(character in REJECTED_CHARACTERS for character in value):
        return "it holds a character that ThingSpace rejects"
    return None


def url_template_error(template: str, account_count: int) -> str | None:
    """Return why the URL of an external listener cannot be used for so many accounts, or None."""
    if unknown := _placeholders(template) - PLACEHOLDERS:
        known = " and ".join(sorted(PLACEHOLDERS))
        return f"holds {', '.join(sorted(unknown))}, which is not replaced; the placeholders are {known}"
    if account_count > 1 and "{account}" not in template:
        return f"is the same for {account_count} accounts: add {{account}}, which is replaced by the account"
    return None


def _placeholders(url: str) -> set[str]:
    return set(re.findall(r"\{\w*\}", url))


def check_triggers(state: State) -> list[CheckFailure]:
    """Validate `triggers`, a list or an object as in other resources that run again when a value changes."""
    value = state.get("triggers")
    if value is None or isinstance(value, list | dict) or is_unknown(value):
        return []
    return [CheckFailure("triggers", TRIGGERS_REASON)]
