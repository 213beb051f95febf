"""Credentials from the environment and the stack configuration.

The environment wins over the stack configuration: destroy and refresh see the configuration of the last update, and
the environment of today.

| setting | environment variable | stack configuration |
|---|---|---|
| application key | THINGSPACE_APP_KEY | thingspace:appKey |
| application secret | THINGSPACE_APP_SECRET | thingspace:appSecret |
| UWS user name | THINGSPACE_USERNAME | thingspace:username |
| UWS password | THINGSPACE_PASSWORD | thingspace:password |
| base URL | THINGSPACE_BASE_URL | thingspace:baseUrl |

A profile `plant_a` reads THINGSPACE_PLANT_A_APP_KEY and so on, and `plant_a` in thingspace:profiles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from thingspace_provider import api
from thingspace_provider.api.errors import CredentialsMissing, InvalidSetting
from thingspace_provider.common.urls import DEFAULT_PORTS

# field of Credentials -> (environment variable without prefix, configuration key without namespace)
CREDENTIAL_SETTINGS = {
    "app_key": ("APP_KEY", "appKey"),
    "app_secret": ("APP_SECRET", "appSecret"),
    "username": ("USERNAME", "username"),
    "password": ("PASSWORD", "password"),
    "base_url": ("BASE_URL", "baseUrl"),
}
Config = Callable[[str], "str | None"]  # "thingspace:appKey" -> value


@dataclass(frozen=True)
class Source:
    """Value of a setting and its origin, for example `stack config thingspace:appKey`."""

    value: str = field(repr=False)
    origin: str


def find_sources(profile: str | None, environment: Mapping[str, str], config: Config) -> dict[str, list[Source]]:
    """Return all sources of every setting, by field of Credentials. The first one wins; an empty list means missing."""
    prefix = _variable_prefix(profile)
    configured = _read_profile(profile, config) if profile else None
    sources_by_field = {}
    for name, (variable, key) in CREDENTIAL_SETTINGS.items():
        value = config(f"thingspace:{key}") if configured is None else str(configured.get(key) or "")
        candidates = [
            (environment.get(prefix + variable), f"environment variable {prefix}{variable}"),
            (value, f"stack config {_config_key(profile, key)}"),
        ]
        if name == "base_url":  # the users of a program usually share one base URL
            if profile:
                candidates.append((environment.get("THINGSPACE_BASE_URL"), "environment variable THINGSPACE_BASE_URL"))
                candidates.append((config("thingspace:baseUrl"), "stack config thingspace:baseUrl"))
            candidates.append((api.PRODUCTION_BASE_URL, "default"))
        sources_by_field[name] = [Source(value, origin) for value, origin in candidates if value]
    return sources_by_field


def resolve_credentials(profile: str | None, environment: Mapping[str, str], config: Config) -> api.Credentials:
    """Return the credentials of a profile, or of the default user without one.

    Raises CredentialsMissing, which names all missing settings at once, or InvalidSetting.
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
            "reading the credentials",
            detail=(f"profile {profile} is incomplete" if profile else "the credentials are incomplete")
            + f": missing {', '.join(missing)}",
            hint="Export them where `pulumi` runs, or set them with `pulumi config set --secret`. "
            "To try the provider without a ThingSpace account, run `thingspace emulator`.",
        )
    return api.Credentials(**values)


def base_url_fingerprint(profile: str | None, environment: Mapping[str, str], config: Config) -> str:
    """Return eight hex digits of SHA-256 of the base URL, normalised and without user name and password."""
    base_url = _normalise_base_url(find_sources(profile, environment, config)["base_url"][0].value)
    return hashlib.sha256(base_url.encode(errors="replace")).hexdigest()[:8]


def _normalise_base_url(base_url: str) -> str:
    """Return one spelling of a URL: lower-case scheme and host, no default port, user name or final slash."""
    try:
        parts = urlsplit(base_url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return base_url
    netloc = host if port in {None, DEFAULT_PORTS.get(parts.scheme)} else f"{host}:{port}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def _variable_prefix(profile: str | None) -> str:
    return f"THINGSPACE_{profile.upper()}_" if profile else "THINGSPACE_"


def _config_key(profile: str | None, key: str) -> str:
    return f"thingspace:profiles {profile}.{key}" if profile else f"thingspace:{key}"


def _read_profile(profile: str, config: Config) -> dict[str, Any]:
    """Return the entry of a profile in thingspace:profiles, a JSON object of objects. Raises InvalidSetting."""
    text = config("thingspace:profiles")
    try:
        entry = json.loads(text).get(profile) if text else None
    except (ValueError, AttributeError, RecursionError):
        raise InvalidSetting(
            "reading the credentials",
            detail="thingspace:profiles is not a map of profiles",
            hint="Write it as a map in the stack file, with appKey, appSecret, username and password of each profile.",
        ) from None
    return entry if isinstance(entry, dict) else {}
