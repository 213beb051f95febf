"""What healing is told: how to ask for queued texts, when, and as which ThingSpace user.

| key in the file | in the environment | meaning |
|---|---|---|
| heal | THINGSPACE_LISTENER_HEAL | off, startCallbacks (ThingSpace pushes) or history (the listener fetches) |
| healAfterSeconds | | from a start or a refusal to the question |
| healMinutes | | the longest time between two questions |
| thingspace (mapping) | | the user to ask as, with the keys below |
| appKey, appSecret | THINGSPACE_APP_KEY, THINGSPACE_APP_SECRET | |
| username, password | THINGSPACE_USERNAME, THINGSPACE_PASSWORD | |
| baseUrl | THINGSPACE_BASE_URL | |

The variables are those of `pulumi up`, and they win over the file as everywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from thingspace_provider.listener.settings.values import (
    UNENCODABLE,
    InvalidValue,
    parse_choice,
    parse_number,
    parse_text,
    type_name,
)

OFF, START_CALLBACKS, HISTORY = MODES = ("off", "startCallbacks", "history")
AFTER_SECONDS = 10.0  # a text that was refused is tried once more by ThingSpace, within 2 s or 6, and then queued
EVERY_MINUTES = 15.0
VARIABLES = {
    "appKey": "THINGSPACE_APP_KEY",
    "appSecret": "THINGSPACE_APP_SECRET",
    "username": "THINGSPACE_USERNAME",
    "password": "THINGSPACE_PASSWORD",
    "baseUrl": "THINGSPACE_BASE_URL",
}
REQUIRED = ("appKey", "appSecret", "username", "password")


def read_mode(value: object) -> str:
    """One of MODES. Raises Wrong."""
    return parse_choice(value, MODES)


def read_after_seconds(value: object) -> float:
    """Seconds. Raises Wrong."""
    return parse_number(value, 0.1, 300)


def read_minutes(value: object) -> float:
    """Minutes. Raises Wrong."""
    return parse_number(value, 0.1, 1440)


def parse_credentials(value: object) -> dict[str, str]:
    """The mapping `thingspace` of a settings file, by the keys of VARIABLES. Raises Wrong."""
    if not isinstance(value, dict):
        raise InvalidValue(f"must be a mapping with the keys {', '.join(VARIABLES)}, not {type_name(value)}")
    for key in value:
        if key not in VARIABLES:
            close = difflib.get_close_matches(str(key), VARIABLES, 1)
            raise InvalidValue(f"{key} is not known: {f'did you mean {close[0]}?' if close else ', '.join(VARIABLES)}")
    return {key: parse_text(one) for key, one in value.items()}


def merge_environment(user: Mapping[str, str], environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The user with what the environment says of it, and a sentence for each thing that is missing."""
    found = {key: environment.get(variable) or user.get(key, "") for key, variable in VARIABLES.items()}
    missing = [
        f"thingspace.{key} is not set, and heal cannot ask ThingSpace without it: give it in the settings file or as "
        f"{VARIABLES[key]} in the environment, or set heal to off"
        for key in REQUIRED
        if not found[key]
    ]
    missing += [
        f"thingspace.{key} (environment variable {VARIABLES[key]}): must be UTF-8 text without NUL"
        for key, value in found.items()
        if UNENCODABLE.search(value)
    ]
    return {key: value for key, value in found.items() if value}, missing
