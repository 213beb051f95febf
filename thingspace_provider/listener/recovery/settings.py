"""What healing is told: how to ask for queued texts, when, and as which ThingSpace user.

| key in the file | in the environment | meaning |
|---|---|---|
| recoveryMode | THINGSPACE_LISTENER_RECOVERY_MODE | off, startCallbacks or history |
| recoveryDelaySeconds | | from a start or a refusal to the question |
| recoveryIntervalSeconds | | the longest time between two questions |
| thingspaceCredentials (mapping) | | the user to ask as, with the keys below |
| appKey, appSecret | THINGSPACE_APP_KEY, THINGSPACE_APP_SECRET | |
| username, password | THINGSPACE_USERNAME, THINGSPACE_PASSWORD | |
| baseUrl | THINGSPACE_BASE_URL | |

The variables are those of `pulumi up`, and they win over the file as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from thingspace_provider.common.suggestions import did_you_mean
from thingspace_provider.listener.settings.values import (
    UNENCODABLE,
    InvalidValue,
    describe_type,
    parse_choice,
    parse_number,
    parse_text,
)

OFF, START_CALLBACKS, HISTORY = MODES = ("off", "startCallbacks", "history")
DEFAULT_DELAY_SECONDS = (
    10.0  # a text that was refused is tried once more by ThingSpace, within 2 s or 6, and then queued
)
DEFAULT_INTERVAL_SECONDS = 900.0
CREDENTIAL_VARIABLES = {
    "appKey": "THINGSPACE_APP_KEY",
    "appSecret": "THINGSPACE_APP_SECRET",
    "username": "THINGSPACE_USERNAME",
    "password": "THINGSPACE_PASSWORD",
    "baseUrl": "THINGSPACE_BASE_URL",
}
REQUIRED_CREDENTIALS = ("appKey", "appSecret", "username", "password")


def parse_mode(value: object) -> str:
    """One of MODES. Raises Wrong."""
    return parse_choice(value, MODES)


def parse_delay_seconds(value: object) -> float:
    """Seconds. Raises Wrong."""
    return parse_number(value, 0.1, 300)


def parse_interval_seconds(value: object) -> float:
    """Seconds. Raises Wrong."""
    return parse_number(value, 6, 86_400)


def parse_credentials(value: object) -> dict[str, str]:
    """The mapping `thingspaceCredentials` of a settings file, by the keys of VARIABLES. Raises Wrong."""
    if not isinstance(value, dict):
        raise InvalidValue(
            f"must be a mapping with the keys {', '.join(CREDENTIAL_VARIABLES)}, not {describe_type(value)}"
        )
    for key in value:
        if key not in CREDENTIAL_VARIABLES:
            raise InvalidValue(f"{key} is not known: {did_you_mean(str(key), CREDENTIAL_VARIABLES)}")
    return {key: parse_text(item) for key, item in value.items()}


def merge_environment(
    credentials: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The user with what the environment says of it, and a sentence for each thing that is missing."""
    merged = {
        key: environment.get(variable) or credentials.get(key, "") for key, variable in CREDENTIAL_VARIABLES.items()
    }
    errors = [
        f"thingspaceCredentials.{key} is not set, and recoveryMode cannot ask ThingSpace without it: give it in "
        f"the settings file or as {CREDENTIAL_VARIABLES[key]} in the environment, or set recoveryMode to off"
        for key in REQUIRED_CREDENTIALS
        if not merged[key]
    ]
    errors += [
        f"thingspaceCredentials.{key} (environment variable {CREDENTIAL_VARIABLES[key]}): must be UTF-8 text "
        "without NUL"
        for key, value in merged.items()
        if UNENCODABLE.search(value)
    ]
    return {key: value for key, value in merged.items() if value}, errors
