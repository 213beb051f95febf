"""Which ThingSpace user a resource calls as: settings in, one shared client out.

The environment wins over the stack's configuration, because destroy and refresh see the configuration of the
last update, while the environment is always today's.

| setting | environment | stack configuration |
|---|---|---|
| application key | THINGSPACE_APP_KEY | thingspace:appKey |
| application secret | THINGSPACE_APP_SECRET | thingspace:appSecret |
| user | THINGSPACE_USERNAME | thingspace:username |
| password | THINGSPACE_PASSWORD | thingspace:password |
| address | THINGSPACE_BASE_URL | thingspace:baseUrl |
| seconds for one operation, 120 | THINGSPACE_DEADLINE | thingspace:resourceTimeoutSeconds |
| calls a second at most, 100 | THINGSPACE_CALLS_PER_SECOND | thingspace:callsPerSecond |

A profile `plant_a` reads THINGSPACE_PLANT_A_APP_KEY and so on, and `plant_a` in thingspace:profiles.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thingspace_provider import api
from thingspace_provider.api.errors import CredentialsMissing, InvalidSetting

# field of Credentials -> (environment variable without prefix, configuration key without namespace)
CREDENTIAL_SETTINGS = {
    "app_key": ("APP_KEY", "appKey"),
    "app_secret": ("APP_SECRET", "appSecret"),
    "username": ("USERNAME", "username"),
    "password": ("PASSWORD", "password"),
    "base_url": ("BASE_URL", "baseUrl"),
}
# field of Limits -> (environment variable, configuration key without namespace, least, most)
LIMITS = {
    "resource_timeout_seconds": ("THINGSPACE_DEADLINE", "resourceTimeoutSeconds", 1, 3600),
    "calls_per_second": ("THINGSPACE_CALLS_PER_SECOND", "callsPerSecond", 0.1, 1000),
}
Config = Callable[[str], "str | None"]  # "thingspace:appKey" -> value


@dataclass(frozen=True)
class Source:
    """A value of a setting, and where it stands in the words of the person who wrote it there."""

    value: str = field(repr=False)
    origin: str


def find_sources(profile: str | None, environment: Mapping[str, str], config: Config) -> dict[str, list[Source]]:
    """Every place that holds a setting, by field of Credentials; the first of a list wins, none means missing."""
    prefix = _variable_prefix(profile)
    configured = _read_profile(profile, config) if profile else None
    sources_by_field = {}
    for name, (variable, key) in CREDENTIAL_SETTINGS.items():
        value = config(f"thingspace:{key}") if configured is None else str(configured.get(key) or "")
        candidates = [
            (environment.get(prefix + variable), f"environment variable {prefix}{variable}"),
            (value, f"stack config {_config_key(profile, key)}"),
        ]
        if name == "base_url":  # users of one program mostly share one address
            if profile:
                candidates.append((environment.get("THINGSPACE_BASE_URL"), "environment variable THINGSPACE_BASE_URL"))
                candidates.append((config("thingspace:baseUrl"), "stack config thingspace:baseUrl"))
            candidates.append((api.PRODUCTION_BASE_URL, "default"))
        sources_by_field[name] = [Source(value, origin) for value, origin in candidates if value]
    return sources_by_field


def resolve_credentials(profile: str | None, environment: Mapping[str, str], config: Config) -> api.Credentials:
    """The credentials of a profile, or of the default user when profile is None.

    Raises CredentialsMissing and names everything that is missing at once.
    """
    sources_by_field = find_sources(profile, environment, config)
    values = {name: field_sources[0].value for name, field_sources in sources_by_field.items() if field_sources}
    missing = [
        f"{_variable_prefix(profile)}{variable} (or stack config {_config_key(profile, key)})"
        for name, (variable, key) in CREDENTIAL_SETTINGS.items()
        if name not in values
    ]
    if missing:
        raise CredentialsMissing(
            "calling ThingSpace",
            detail="no credentials for " + (f"profile {profile}" if profile else "ThingSpace") + ": "
            "missing " + ", ".join(missing),
            hint="Export them where `pulumi` runs, or set them with `pulumi config set --secret`. "
            "To try it without a ThingSpace account, use `thingspace emulator`.",
        )
    return api.Credentials(**values)


def base_url_fingerprint(profile: str | None, environment: Mapping[str, str], config: Config) -> str:
    """Tells the ThingSpace that a profile calls from others: a short digest of its address, without a user in it."""
    base_url = re.sub("//[^/]*@", "//", find_sources(profile, environment, config)["base_url"][0].value.rstrip("/"))
    return hashlib.sha256(base_url.encode(errors="replace")).hexdigest()[:8]


def _variable_prefix(profile: str | None) -> str:
    return f"THINGSPACE_{profile.upper()}_" if profile else "THINGSPACE_"


def _config_key(profile: str | None, key: str) -> str:
    return f"thingspace:profiles {profile}.{key}" if profile else f"thingspace:{key}"


def resolve_limits(environment: Mapping[str, str], config: Config) -> api.Limits:
    """The time of an operation and the pace of calls. Raises InvalidSetting."""
    values = {}
    for name, (variable, key, min_value, max_value) in LIMITS.items():
        text = environment.get(variable) or config(f"thingspace:{key}")
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not min_value <= value <= max_value:
            raise InvalidSetting(
                "calling ThingSpace",
                detail=f"{variable} (or stack config thingspace:{key}) is {text!r}",
                hint=f"It is a number from {min_value:g} to {max_value:g}.",
            )
        values[name] = value
    return api.Limits(**values)


def _read_profile(profile: str, config: Config) -> dict[str, Any]:
    """The profile's entry in thingspace:profiles, a JSON object of objects."""
    text = config("thingspace:profiles")
    try:
        entry = json.loads(text).get(profile) if text else None
    except (ValueError, AttributeError, RecursionError):
        raise CredentialsMissing(
            "calling ThingSpace",
            detail="thingspace:profiles is not a map of profiles",
            hint="Write it as a map in the stack file, profile by profile, each with appKey, appSecret, "
            "username and password.",
        ) from None
    return entry if isinstance(entry, dict) else {}


class ClientCache:
    """One client per credentials, so that all resources of a process share one token and one session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[api.Credentials, api.ThingSpaceClient] = {}

    def get(self, credentials: api.Credentials, limits: api.Limits | None = None) -> api.ThingSpaceClient:
        """The client of these credentials, made when it is first asked for."""
        with self._lock:
            if credentials not in self._clients:
                self._clients[credentials] = api.ThingSpaceClient(credentials, limits=limits)
            return self._clients[credentials]

    def logout(self) -> None:
        """End every session, at the end of the process."""
        for client in self._clients.values():
            client.logout()
