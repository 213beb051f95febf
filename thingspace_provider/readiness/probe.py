"""Proves that a callback URL leads to the listener that was meant, without sending it a text or a password.

The listener answers `GET {callback URL}` with header `ThingSpace-Probe: <nonce>` by
`{"account", "proof"}`, where proof is HMAC-SHA256 over `username:account:nonce` with the callback password
as key, in hex. So the right path, the right account and the right credential are shown in one request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

from thingspace_provider.api.credentials import is_loopback
from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.api.transport import Answer, NoAnswer, RequestsTransport
from thingspace_provider.common.urls import shown
from thingspace_provider.readiness import reachability, tls_errors
from thingspace_provider.readiness.reachability import NotProven

HEADER = "ThingSpace-Probe"
OK = 200
NOT_FOUND = 404
LOGIN = (401, 403, 407)
REDIRECTS = (301, 302, 303, 307, 308)
BACKENDS = (502, 503, 504)
SECONDS = 10.0
ATTEMPT_SECONDS = 5.0
LAST_ATTEMPT_SECONDS = 2.0  # the last one may run over by this much, for a handshake takes its time
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 1.0  # seconds


@dataclass(frozen=True)
class Expected:
    """Whose listener has to answer, and what ThingSpace will send back to it."""

    account: str
    username: str
    password: str

    def proof(self, nonce: str) -> str:
        """What the listener has to answer to a nonce."""
        message = f"{self.username}:{self.account}:{nonce}".encode()
        return hmac.new(self.password.encode(), message, hashlib.sha256).hexdigest()


class Prover:
    """Asks callback URLs for their proof. Used by several threads at once, which share its connections.

    Args:
        ca_bundle: PEM file of the CAs that count as public; None is Mozilla's list, never this machine's.

    Raises OSError when no CA can be read in that file.
    """

    def __init__(self, ca_bundle: str | None = None) -> None:
        self._ca_bundle = ca_bundle or tls_errors.public_cas()
        ssl.create_default_context(cafile=self._ca_bundle)
        self._transport = RequestsTransport(self._ca_bundle)
        self._private: set[str] = set()
        self._lock = threading.Lock()

    def prove(
        self,
        url: str,
        account: str,
        username: str,
        password: str,
        *,
        seconds: float = SECONDS,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Ask the URL until it gives the right proof, or raise ListenerNotReady after `seconds`.

        Whatever fails is tried again, for a listener that was just deployed gets its name, its certificate and
        its backends one after the other. `say` hears once what is waited for.
        """
        end = time.monotonic() + seconds
        expected = Expected(account, username, password)
        pause = 0.0
        while True:
            try:
                return self.once(
                    url, expected, _between(LAST_ATTEMPT_SECONDS, end - time.monotonic(), ATTEMPT_SECONDS), say
                )
            except NotProven as failed:
                if time.monotonic() + max(pause, SHORTEST_PAUSE) >= end:
                    raise _not_ready(url, account, failed, seconds) from None
                if not pause:
                    say(
                        f"account {account}: waiting up to {seconds:g} s for the listener at {shown(url)}: "
                        f"{failed.step}: {failed.what}"
                    )
            pause = min(max(pause * 1.5, SHORTEST_PAUSE), LONGEST_PAUSE)
            time.sleep(pause)

    def close(self) -> None:
        """Let go of the open connections."""
        self._transport.close()

    def once(self, url: str, expected: Expected, seconds: float, say: Callable[[str], None]) -> None:
        """Go through all steps once, or raise NotProven."""
        to = reachability.target(url)
        if to.proxy is None and not is_loopback(to.host):
            self._warn_of_private(to.host, reachability.addresses(to, seconds), say)
        nonce = secrets.token_urlsafe(24)
        try:
            answer = self._transport.send("GET", url, {HEADER: nonce, "Accept": "application/json"}, None, seconds)
        except NoAnswer as error:
            raise reachability.not_reached(to, error, self._ca_bundle, seconds) from None
        _judge(url, answer, expected.proof(nonce))

    def _warn_of_private(self, host: str, addresses: list[str], say: Callable[[str], None]) -> None:
        """An address inside says nothing about the one that ThingSpace sees, so it is no error."""
        if not all(reachability.is_private(address) for address in addresses):
            return
        with self._lock:
            if host in self._private:
                return
            self._private.add(host)
        say(
            f"{host} has only private addresses here ({', '.join(addresses)}), which ThingSpace cannot reach. "
            "That is as it should be where the name has another address outside (split-horizon DNS)."
        )


def _not_ready(url: str, account: str, failed: NotProven, seconds: float) -> ListenerNotReady:
    return ListenerNotReady(
        "proving the listener reachable",
        account,
        f"{failed.step}: {failed.what} (tried {shown(url)} for {seconds:g} s)",
        f"{failed.remedy} Nothing was registered. THINGSPACE_READINESS_SECONDS waits longer; readiness=False registers "
        "without a proof, for a listener that ThingSpace can reach and this machine cannot.",
    )


def _between(least: float, wished: float, most: float) -> float:
    return max(least, min(wished, most))


def _judge(url: str, answer: Answer, proof: str) -> None:
    """Whether the answer is our listener's, or NotProven."""
    if answer.status != OK:
        raise NotProven("answer", *_refused(url, answer))
    try:
        document = json.loads(answer.body)
    except ValueError:
        kind = answer.headers.get("content-type", "").partition(";")[0]
        raise NotProven(
            "answer",
            f"answered 200 with {_text(kind) or 'something'} that is not ours{_server(answer)}",
            "A proxy, a login page or another web server answers at this path: have it go on to the listener.",
        ) from None
    given = document.get("proof") if isinstance(document, dict) else None
    if not isinstance(given, str):
        raise NotProven(
            "answer",
            "answered 200, but it is not a listener of this project",
            "Correct the URL; for a listener of your own, set readiness=False.",
        )
    if not hmac.compare_digest(given.encode(), proof.encode()):
        raise NotProven(
            "credential",
            "a listener of this project answers, but it has another user name or password",
            "Give the listener the credential of this stack; it may still run with the one before. After a rotation: "
            "`pulumi up --target '**CallbackCredential::credential'`, then `pulumi stack output listenerCredential "
            "--show-secrets --json` for the listener's settings, SIGHUP for the listener, and `pulumi up` again.",
        )


def _refused(url: str, answer: Answer) -> tuple[str, str]:
    """What an answer other than 200 means, and what to do."""
    what = f"answered {answer.status}{_server(answer)}"
    if answer.status in REDIRECTS:
        to = shown(urljoin(url, answer.headers.get("location", "")))
        return f"{what}: it redirects to {to}", "Register the URL at the end of it; ThingSpace posts to this one."
    if answer.status in LOGIN:
        return f"{what}: something asks for a login", "ThingSpace logs in nowhere: let callbacks pass without one."
    if answer.status == NOT_FOUND:
        return f"{what}: path, path token or account is not known there", "Compare the URL with the listener's own."
    if answer.status in BACKENDS:
        return f"{what}: the listener behind it is not up", "Look why the load balancer or proxy sees it as down."
    return what, "Look into the log of what listens there."


def _server(answer: Answer) -> str:
    """Who says it answered, as load balancers and proxies do."""
    server = _text(answer.headers.get("server", ""))
    return f" ({server})" if server else ""


def _text(value: str, longest: int = 40) -> str:
    return "".join(letter for letter in value if letter.isprintable())[:longest]
