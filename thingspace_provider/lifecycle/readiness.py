"""Before a registration: have the listener prove that it is reachable, as far as this machine can tell.

| environment | |
|---|---|
| THINGSPACE_READINESS_SECONDS | how long a listener may take to become ready; 10 when unset, no part of the deadline |
| THINGSPACE_READINESS_CA_BUNDLE | PEM file of the CAs to trust instead of the public ones, as a test's |
"""

from __future__ import annotations

import functools
import math
import os

from thingspace_provider import readiness
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.lifecycle.model import Context, State

TIMEOUT_VARIABLE, CA_BUNDLE_VARIABLE = "THINGSPACE_READINESS_SECONDS", "THINGSPACE_READINESS_CA_BUNDLE"
DEFAULT_TIMEOUT = "10"
MAX_TIMEOUT_SECONDS = 3600  # seconds


def wait_until_ready(context: Context, state: State) -> None:
    """Wait until the registration's URL proves that our listener answers there, or raise ListenerNotReady."""
    account = state["accountName"]
    seconds, probe = _read_timeout(account), shared_probe(account)
    username, password = state.get("username") or "", state.get("password") or ""
    probe.wait_until_ready(state["url"], account, username, password, seconds=seconds, log=context.log)


def _read_timeout(account: str) -> float:
    value = os.environ.get(TIMEOUT_VARIABLE) or DEFAULT_TIMEOUT
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        raise _invalid_setting(
            account,
            f"{TIMEOUT_VARIABLE} is {value!r}",
            f"Set a number of seconds up to {MAX_TIMEOUT_SECONDS}, or unset it.",
        )
    return seconds


def shared_probe(account: str) -> readiness.ReadinessProbe:
    """Who asks for proofs, with the CAs that the environment names. Raises ListenerNotReady."""
    ca_bundle = os.environ.get(CA_BUNDLE_VARIABLE) or None
    try:
        return _cached_probe(ca_bundle)
    except OSError:  # no such file, or nothing in it
        detail = f"{CA_BUNDLE_VARIABLE} names {ca_bundle!r}, in which no CA can be read"
        raise _invalid_setting(account, detail, "Name a PEM file of CAs, or unset it.") from None


@functools.cache
def _cached_probe(ca_bundle: str | None) -> readiness.ReadinessProbe:
    """One for all registrations of the process, so that hundreds of them share its connections."""
    return readiness.ReadinessProbe(ca_bundle)


def _invalid_setting(account: str, detail: str, hint: str) -> ListenerNotReady:
    return ListenerNotReady("proving the listener reachable", account, detail, f"{hint} Nothing was registered.")
