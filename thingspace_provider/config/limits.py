"""Limits from the environment or the stack configuration.

| setting | environment variable | stack configuration | range | default |
|---|---|---|---|---|
| timeout of a resource operation | THINGSPACE_RESOURCE_TIMEOUT_SECONDS | thingspace:resourceTimeoutSeconds | 1-3600 s | 120 s |
| rate of calls | THINGSPACE_CALLS_PER_SECOND | thingspace:callsPerSecond | 0.1-1000 per second | 100 per second |
"""  # noqa: E501  a table

from __future__ import annotations

import math
from collections.abc import Mapping

from thingspace_provider import api
from thingspace_provider.api.errors import InvalidSetting
from thingspace_provider.config.credentials import Config

# field of Limits -> (environment variable, configuration key without namespace, minimum, maximum)
LIMITS = {
    "resource_timeout_seconds": ("THINGSPACE_RESOURCE_TIMEOUT_SECONDS", "resourceTimeoutSeconds", 1, 3600),
    "calls_per_second": ("THINGSPACE_CALLS_PER_SECOND", "callsPerSecond", 0.1, 1000),
}


def resolve_limits(environment: Mapping[str, str], config: Config) -> api.Limits:
    """Return the limits; the environment wins over the stack configuration. Raises InvalidSetting."""
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
                "reading the limits",
                detail=f"{variable} (or stack config thingspace:{key}) is {text!r}",
                hint=f"Set it to a number from {min_value:g} to {max_value:g}.",
            )
        values[name] = value
    return api.Limits(**values)
