"""Proves that a callback URL leads to the listener that was meant, without sending it a text or a password.

The listener answers `GET {callback URL}` with header `ThingSpace-Probe: <nonce>` by
`{"account", "proof"}`, where proof is HMAC-SHA256 over `username:account:nonce` with the callback password
as key, in hex. So the right path, the right account and the right credential are shown in one request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from thingspace_provider.api import answers
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.api.transport import NoAnswer, RequestsTransport, Transport
from thingspace_provider.api.urls import shown

HEADER = "ThingSpace-Probe"
OK = 200
ATTEMPT_SECONDS = 5.0
PAUSE_SECONDS = 0.2


def prove_listener(
    url: str, account: str, username: str, password: str, *, seconds: float = 10.0, transport: Transport | None = None
) -> None:
    """Ask the URL for its proof until it gives the right one, or raise ListenerNotReady after `seconds`."""
    transport = transport or RequestsTransport()
    end = time.monotonic() + seconds
    while True:
        problem = _attempt(transport, url, account, username, password)
        if problem is None:
            return
        if time.monotonic() + PAUSE_SECONDS >= end:
            raise ListenerNotReady(
                "proving the listener reachable",
                account,
                f"{shown(url)} {problem} (tried for {seconds:g} s)",
                "Nothing was registered for it. Correct this and run it again, or set readiness=False if the "
                "listener cannot be reached from here but can from ThingSpace.",
            )
        time.sleep(PAUSE_SECONDS)


def _attempt(transport: Transport, url: str, account: str, username: str, password: str) -> str | None:
    """What is wrong with the listener's answer, or None."""
    nonce = secrets.token_urlsafe(24)
    try:
        answer = transport.send("GET", url, {HEADER: nonce, "Accept": "application/json"}, None, ATTEMPT_SECONDS)
    except NoAnswer as error:
        return f"cannot be reached: {error}"
    if answer.status != OK:
        return f"answered {answer.status}: the path, its token or the account is not known to the listener there"
    document = answers.json_object(answer.body)
    expected = hmac.new(password.encode(), f"{username}:{account}:{nonce}".encode(), hashlib.sha256).hexdigest()
    proof = document.get("proof")
    if not isinstance(proof, str):
        return "answered, but it is not a listener of this project"
    if not hmac.compare_digest(proof.encode(), expected.encode()):
        return "is a listener of this project, but it has another user name or password"
    return None
