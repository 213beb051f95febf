"""Readiness probe before a registration, configured by the environment.

| Environment variable | Meaning |
|---|---|
| THINGSPACE_READINESS_TIMEOUT_SECONDS | time to become ready, 10 by default; not part of the deadline |
| THINGSPACE_READINESS_CA_BUNDLE | PEM file of the CAs to trust instead of the public ones, for tests |
"""

from __future__ import annotations

import functools
import math
import os

from thingspace_provider import readiness
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.lifecycle.model import Context, State

TIMEOUT_VARIABLE = "THINGSPACE_READINESS_TIMEOUT_SECONDS"
CA_BUNDLE_VARIABLE = "THINGSPACE_READINESS_CA_BUNDLE"
DEFAULT_TIMEOUT = "10"
MAX_TIMEOUT_SECONDS = 3600


def wait_until_ready(context: Context, state: State) -> None:
    """Wait until the listener at the registration's URL passes the probe, or raise ListenerNotReady."""
    account = state["accountName"]
    seconds, probe = _read_timeout(account), shared_probe(account)
    username, password = state.get("username") or "", state.get("password") or ""
    probe.wait_until_ready(state["url"], account, username, password, seconds=seconds, log=context.log)


def shared_probe(account: str) -> readiness.ReadinessProbe:
    """Return the probe with the CAs of the environment. Raises ListenerNotReady if they cannot be read."""
    ca_bundle = os.environ.get(CA_BUNDLE_VARIABLE) or None
    try:
        return _cached_probe(ca_bundle)
    except OSError:  # no such file, or no certificate in it
        detail = f"{CA_BUNDLE_VARIABLE} is {ca_bundle!r}, which holds no readable CA"
        raise _invalid_setting(account, detail, "Set it to a PEM file of CAs, or unset it.") from None


@functools.cache
def _cached_probe(ca_bundle: str | None) -> readiness.ReadinessProbe:
    """Return one probe for the whole process, so that all registrations share its connections."""
    return readiness.ReadinessProbe(ca_bundle)


def _read_timeout(account: str) -> float:
    value = os.environ.get(TIMEOUT_VARIABLE) or DEFAULT_TIMEOUT
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        hint = f"Set it to a number of seconds up to {MAX_TIMEOUT_SECONDS}, or unset it."
        raise _invalid_setting(account, f"{TIMEOUT_VARIABLE} is {value!r}", hint)
    return seconds


def _invalid_setting(account: str, detail: str, hint: str) -> ListenerNotReady:
    return ListenerNotReady("probing the listener", account, detail, f"{hint} Nothing was registered.")
