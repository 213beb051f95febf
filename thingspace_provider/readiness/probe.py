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
from thingspace_provider.api.transport import HttpResponse, RequestsTransport, TransportError
from thingspace_provider.common.urls import mask_url
from thingspace_provider.readiness import reachability, tls_errors
from thingspace_provider.readiness.reachability import ProbeFailed

HEADER = "ThingSpace-Probe"
OK = 200
NOT_FOUND = 404
AUTH_STATUSES = (401, 403, 407)
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
BACKEND_STATUSES = (502, 503, 504)
DEFAULT_TIMEOUT_SECONDS = 10.0
MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 1.0  # seconds


@dataclass(frozen=True)
class ExpectedListener:
    """Whose listener has to answer, and what ThingSpace will send back to it."""

    account: str
    username: str
    password: str

    def proof(self, nonce: str) -> str:
        """What the listener has to answer to a nonce."""
        message = f"{self.username}:{self.account}:{nonce}".encode()
        return hmac.new(self.password.encode(), message, hashlib.sha256).hexdigest()


class ReadinessProbe:
    """Asks callback URLs for their proof. Used by several threads at once, which share its connections.

    Args:
        ca_bundle: PEM file of the CAs that count as public; None is Mozilla's list, never this machine's.
        attempt_timeout_seconds: timeout of one attempt.
        min_attempt_timeout_seconds: timeout of the last attempt, which may exceed the time that remains.

    Raises OSError when no CA can be read in that file.
    """

    def __init__(
        self,
        ca_bundle: str | None = None,
        attempt_timeout_seconds: float = 5.0,
        min_attempt_timeout_seconds: float = 2.0,
    ) -> None:
        self._attempt_timeout_seconds = attempt_timeout_seconds
        self._min_attempt_timeout_seconds = min_attempt_timeout_seconds
        self._ca_bundle = ca_bundle or tls_errors.public_ca_bundle()
        ssl.create_default_context(cafile=self._ca_bundle)
        self._transport = RequestsTransport(self._ca_bundle)
        self._private_hosts: set[str] = set()
        self._lock = threading.Lock()

    def wait_until_ready(
        self,
        url: str,
        account: str,
        username: str,
        password: str,
        *,
        seconds: float = DEFAULT_TIMEOUT_SECONDS,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Ask the URL until it gives the right proof, or raise ListenerNotReady after `seconds`.

        Whatever fails is tried again, for a listener that was just deployed gets its name, its certificate and
        its backends one after the other. `say` hears once what is waited for.
        """
        deadline = time.monotonic() + seconds
        expected = ExpectedListener(account, username, password)
        backoff = 0.0
        while True:
            remaining = deadline - time.monotonic()
            try:
                timeout = _clamp(self._min_attempt_timeout_seconds, remaining, self._attempt_timeout_seconds)
                return self.check(url, expected, timeout, log)
            except ProbeFailed as error:
                if time.monotonic() + max(backoff, MIN_BACKOFF_SECONDS) >= deadline:
                    raise _not_ready_error(url, account, error, seconds) from None
                if not backoff:
                    log(
                        f"account {account}: waiting up to {seconds:g} s for the listener at {mask_url(url)}: "
                        f"{error.step}: {error.detail}"
                    )
            backoff = min(max(backoff * 1.5, MIN_BACKOFF_SECONDS), MAX_BACKOFF_SECONDS)
            time.sleep(backoff)

    def close(self) -> None:
        """Let go of the open connections."""
        self._transport.close()

    def check(self, url: str, expected: ExpectedListener, seconds: float, log: Callable[[str], None]) -> None:
        """Go through all steps once, or raise ProbeFailed."""
        target = reachability.parse_target(url)
        if target.proxy is None and not is_loopback(target.host):
            self._warn_if_private(target.host, reachability.resolve(target, seconds), log)
        nonce = secrets.token_urlsafe(24)
        try:
            response = self._transport.send("GET", url, {HEADER: nonce, "Accept": "application/json"}, None, seconds)
        except TransportError as error:
            raise reachability.explain_transport_error(target, error, self._ca_bundle, seconds) from None
        _verify(url, response, expected.proof(nonce))

    def _warn_if_private(self, host: str, addresses: list[str], log: Callable[[str], None]) -> None:
        """An address inside says nothing about the one that ThingSpace sees, so it is no error."""
        if not all(reachability.is_private(address) for address in addresses):
            return
        with self._lock:
            if host in self._private_hosts:
                return
            self._private_hosts.add(host)
        log(
            f"{host} has only private addresses here ({', '.join(addresses)}), which ThingSpace cannot reach. "
            "That is as it should be where the name has another address outside (split-horizon DNS)."
        )


def _not_ready_error(url: str, account: str, error: ProbeFailed, seconds: float) -> ListenerNotReady:
    return ListenerNotReady(
        "proving the listener reachable",
        account,
        f"{error.step}: {error.detail} (tried {mask_url(url)} for {seconds:g} s)",
        f"{error.hint} Nothing was registered. THINGSPACE_READINESS_TIMEOUT_SECONDS waits longer; readiness=False "
        "registers without a proof, for a listener that ThingSpace can reach and this machine cannot.",
    )


def _clamp(min_value: float, value: float, max_value: float) -> float:
    return max(min_value, min(value, max_value))


def _verify(url: str, response: HttpResponse, proof: str) -> None:
    """Whether the answer is our listener's, or ProbeFailed."""
    if response.status != OK:
        raise ProbeFailed("answer", *_explain_status(url, response))
    try:
        document = json.loads(response.body)
    except ValueError:
        content_type = response.headers.get("content-type", "").partition(";")[0]
        raise ProbeFailed(
            "answer",
            f"answered 200 with {_to_printable(content_type) or 'something'} that is not ours{_describe_server(response)}",  # noqa: E501
            "A proxy, a login page or another web server answers at this path: have it go on to the listener.",
        ) from None
    received = document.get("proof") if isinstance(document, dict) else None
    if not isinstance(received, str):
        raise ProbeFailed(
            "answer",
            "answered 200, but it is not a listener of this project",
            "Correct the URL; for a listener of your own, set readiness=False.",
        )
    if not hmac.compare_digest(received.encode(), proof.encode()):
        raise ProbeFailed(
            "credential",
            "a listener of this project answers, but it has another user name or password",
            "Give the listener the credential of this stack; it may still run with the one before. After a rotation: "
            "`pulumi up --target '**CallbackCredential::credential'`, then `pulumi stack output listenerCredential "
            "--show-secrets --json` for the listener's settings, SIGHUP for the listener, and `pulumi up` again.",
        )


def _explain_status(url: str, response: HttpResponse) -> tuple[str, str]:
    """What an answer other than 200 means, and what to do."""
    detail = f"answered {response.status}{_describe_server(response)}"
    if response.status in REDIRECT_STATUSES:
        location = mask_url(urljoin(url, response.headers.get("location", "")))
        return (
            f"{detail}: it redirects to {location}",
            "Register the URL at the end of it; ThingSpace posts to this one.",
        )
    if response.status in AUTH_STATUSES:
        return f"{detail}: something asks for a login", "ThingSpace logs in nowhere: let callbacks pass without one."
    if response.status == NOT_FOUND:
        return f"{detail}: path, path token or account is not known there", "Compare the URL with the listener's own."
    if response.status in BACKEND_STATUSES:
        return f"{detail}: the listener behind it is not up", "Look why the load balancer or proxy sees it as down."
    return detail, "Look into the log of what listens there."


def _describe_server(response: HttpResponse) -> str:
    """Who says it answered, as load balancers and proxies do."""
    server = _to_printable(response.headers.get("server", ""))
    return f" ({server})" if server else ""


def _to_printable(value: str, max_length: int = 40) -> str:
    return "".join(character for character in value if character.isprintable())[:max_length]
