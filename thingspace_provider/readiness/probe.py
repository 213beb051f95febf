"""Readiness probe: checks that a callback URL leads to the expected listener, without a message or a password.

The probe sends `GET {callback URL}` with the header `ThingSpace-Probe: <nonce>`. The listener responds with
`{"account", "proof"}`, so one request verifies path, account and credential. `common/probe_proof.py` has the formula.
"""

from __future__ import annotations

import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

from thingspace_provider.api.errors import ListenerNotReady
from thingspace_provider.api.transport import HttpResponse, RequestsTransport, TransportError
from thingspace_provider.common.backoff import exponential_backoff, no_jitter
from thingspace_provider.common.probe_proof import compute_proof
from thingspace_provider.common.urls import is_loopback, mask_url
from thingspace_provider.readiness import reachability, tls_errors
from thingspace_provider.readiness.reachability import ProbeFailed

HEADER = "ThingSpace-Probe"
OK = 200
NOT_FOUND = 404
AUTH_STATUSES = (401, 403, 407)
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
BACKEND_STATUSES = (502, 503, 504)
DEFAULT_TIMEOUT_SECONDS = 10.0
INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 1.0


@dataclass(frozen=True)
class ExpectedListener:
    """Account and credential of the listener that must respond."""

    account: str
    username: str
    password: str

    def proof(self, nonce: str) -> str:
        """Return the proof for a nonce."""
        return compute_proof(self.username, self.password, self.account, nonce)


class ReadinessProbe:
    """Probes callback URLs. Safe for use by several threads, which share its connections.

    Raises OSError if the PEM file holds no readable CA.

    Args:
        ca_bundle: PEM file of the trusted CAs; by default Mozilla's list of public CAs, never this machine's.
        attempt_timeout_seconds: timeout of one attempt.
        min_attempt_timeout_seconds: timeout of the last attempt, which can exceed the remaining time, because a TLS
            handshake takes its time.
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
        """Probe the URL until it passes. Raises ListenerNotReady after `seconds`.

        Every failure is retried: DNS name, certificate and backends of a new listener appear one after the other.
        The first failure is reported to `log`.
        """
        deadline = time.monotonic() + seconds
        expected = ExpectedListener(account, username, password)
        failed_attempts = 0
        while True:
            remaining = deadline - time.monotonic()
            timeout = _clamp(self._min_attempt_timeout_seconds, remaining, self._attempt_timeout_seconds)
            backoff = exponential_backoff(failed_attempts, INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, no_jitter)
            try:
                return self.check(url, expected, timeout, log)
            except ProbeFailed as error:
                if time.monotonic() + backoff >= deadline:
                    raise _not_ready_error(url, account, error, seconds) from None
                if not failed_attempts:
                    log(
                        f"account {account}: waiting up to {seconds:g} s for the listener at {mask_url(url)}: "
                        f"{error.step}: {error.detail}"
                    )
            failed_attempts += 1
            time.sleep(backoff)

    def close(self) -> None:
        """Close the open connections."""
        self._transport.close()

    def check(self, url: str, expected: ExpectedListener, seconds: float, log: Callable[[str], None]) -> None:
        """Probe the URL once. Raises ProbeFailed."""
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
        """Warn once per host. A private address here is no error, because DNS can return another one to ThingSpace."""
        if not all(reachability.is_private(address) for address in addresses):
            return
        with self._lock:
            if host in self._private_hosts:
                return
            self._private_hosts.add(host)
        log(
            f"{host} has only private addresses here ({', '.join(addresses)}), which ThingSpace cannot reach. "
            "Ignore this warning if the name has a public address outside (split-horizon DNS)."
        )


def _not_ready_error(url: str, account: str, error: ProbeFailed, seconds: float) -> ListenerNotReady:
    return ListenerNotReady(
        "probing the listener",
        account,
        f"{error.step}: {error.detail} (probed {mask_url(url)} for {seconds:g} s)",
        f"{error.hint} Nothing was registered. Set THINGSPACE_READINESS_TIMEOUT_SECONDS to wait longer, or "
        "readiness=False to register without a probe if ThingSpace can reach the listener and this machine cannot.",
    )


def _clamp(min_value: float, value: float, max_value: float) -> float:
    return max(min_value, min(value, max_value))


def _verify(url: str, response: HttpResponse, proof: str) -> None:
    """Verify that a response comes from the expected listener. Raises ProbeFailed."""
    if response.status != OK:
        raise ProbeFailed("response", *_explain_status(url, response))
    try:
        document = json.loads(response.body)
    except (ValueError, RecursionError):
        content_type = response.headers.get("content-type", "").partition(";")[0]
        content = _to_printable(content_type) or "a body"
        raise ProbeFailed(
            "response",
            f"responded with 200 and {content} that is not a listener's{_describe_server(response)}",
            "A proxy, a login page or another web server responds at this path: forward the path to the listener.",
        ) from None
    received = document.get("proof") if isinstance(document, dict) else None
    if not isinstance(received, str):
        raise ProbeFailed(
            "response",
            "responded with 200, but it is not a listener of this project",
            "Correct the URL. For a listener of your own, set readiness=False.",
        )
    if not hmac.compare_digest(received.encode(errors="replace"), proof.encode()):
        raise ProbeFailed(
            "credential",
            "a listener of this project responded, but it has another user name or password",
            "Configure the listener with the credential of this stack. After a rotation, run "
            "`pulumi up --target '**CallbackCredential::credential'`, copy the output of `pulumi stack output "
            "listenerCredential --show-secrets --json` to the listener's settings, and "
            "run `pulumi up` again.",
        )


def _explain_status(url: str, response: HttpResponse) -> tuple[str, str]:
    """Return detail and hint for a status other than 200."""
    detail = f"responded with {response.status}{_describe_server(response)}"
    if response.status in REDIRECT_STATUSES:
        return (
            f"{detail}: it redirects to {_describe_location(url, response)}",
            "Register the URL at the end of the redirect: ThingSpace follows none.",
        )
    if response.status in AUTH_STATUSES:
        return f"{detail}: it requires a login", "Permit callbacks without one: ThingSpace does not log in."
    if response.status == NOT_FOUND:
        return (
            f"{detail}: it does not know the path, the path token or the account",
            "Compare the URL with the listener's own.",
        )
    if response.status in BACKEND_STATUSES:
        return (
            f"{detail}: the listener behind it is down",
            "Check why the load balancer or proxy reports the listener as down.",
        )
    return detail, "Check the log of the server at this URL."


def _describe_server(response: HttpResponse) -> str:
    """Return the `Server` header, which names a load balancer or proxy."""
    server = _to_printable(response.headers.get("server", ""))
    return f" ({server})" if server else ""


def _describe_location(url: str, response: HttpResponse) -> str:
    try:
        location = urljoin(url, response.headers.get("location", ""))
    except ValueError:  # for example a bracket without its pair
        return "an invalid URL"
    return _to_printable(mask_url(location), max_length=300)


def _to_printable(value: str, max_length: int = 40) -> str:
    return "".join(character for character in value if character.isprintable())[:max_length]
