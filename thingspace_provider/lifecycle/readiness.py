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

SECONDS, CA_BUNDLE = "THINGSPACE_READINESS_SECONDS", "THINGSPACE_READINESS_CA_BUNDLE"
DEFAULT_SECONDS = "10"
LONGEST = 3600  # seconds


def prove(context: Context, state: State) -> None:
    """Wait until the registration's URL proves that our listener answers there, or raise ListenerNotReady."""
    account = state["accountName"]
    seconds, asking = _seconds(account), prover(account)
    username, password = state.get("username") or "", state.get("password") or ""
    asking.prove(state["url"], account, username, password, seconds=seconds, say=context.say)


def _seconds(account: str) -> float:
    given = os.environ.get(SECONDS) or DEFAULT_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST:
        raise _wrong(account, f"{SECONDS} is {given!r}", f"Set a number of seconds up to {LONGEST}, or unset it.")
    return seconds


def prover(account: str) -> readiness.Prover:
    """Who asks for proofs, with the CAs that the environment names. Raises ListenerNotReady."""
    ca_bundle = os.environ.get(CA_BUNDLE) or None
    try:
        return _shared(ca_bundle)
    except OSError:  # no such file, or nothing in it
        what = f"{CA_BUNDLE} names {ca_bundle!r}, in which no CA can be read"
        raise _wrong(account, what, "Name a PEM file of CAs, or unset it.") from None


@functools.cache
def _shared(ca_bundle: str | None) -> readiness.Prover:
    """One for all registrations of the process, so that hundreds of them share its connections."""
    return readiness.Prover(ca_bundle)


def _wrong(account: str, what: str, remedy: str) -> ListenerNotReady:
    return ListenerNotReady("proving the listener reachable", account, what, f"{remedy} Nothing was registered.")
