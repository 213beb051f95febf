"""Proof of the readiness probe: shows that a listener has the callback credential without sending it.

A client that knows the path token can request a proof and compare it with guesses. Scrypt makes each guess cost a
quarter of a second and 16 MiB. `docs/readiness-probe.md` has the formula and a test vector for other receivers.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import threading

_LOCK = threading.Lock()  # concurrent probes of one credential derive its key once


@functools.lru_cache(maxsize=16)
def _derive_key(username: str, password: str) -> bytes:
    salt = f"thingspace-readiness-probe:{username}".encode()
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5, dklen=32)


def compute_proof(username: str, password: str, account: str, nonce: str) -> str:
    """Return the proof in hex. The first call with a credential blocks its thread for about 0.25 seconds."""
    with _LOCK:
        key = _derive_key(username, password)
    return hmac.new(key, f"{account}:{nonce}".encode(), hashlib.sha256).hexdigest()
