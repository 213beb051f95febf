"""DNS, connection and proxy on the way to a callback URL, and the reason why a step failed.

This machine can see another network than ThingSpace: a name can have another address inside (split-horizon DNS), and
outgoing connections can pass a proxy.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy

from thingspace_provider.api.transport import TransportError, root_cause
from thingspace_provider.common.timeouts import run_with_timeout
from thingspace_provider.common.urls import effective_port, is_loopback
from thingspace_provider.readiness import tls_errors

TUNNEL_ERROR = re.compile(r"Tunnel connection failed: (\d{3})")


class ProbeFailed(Exception):
    """One attempt of a probe failed.

    Args:
        step: dns, connect, tls, response or credential.
        detail: the observation.
        hint: the next step for the user, as an imperative.
    """

    def __init__(self, step: str, detail: str, hint: str) -> None:
        super().__init__(step, detail, hint)
        self.step = step
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True)
class Target:
    """Host, port and proxy of a callback URL. The proxy is a URL, which can hold a password."""

    host: str
    port: int
    proxy: str | None

    @property
    def address(self) -> str:
        """Return host and port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(url: str) -> Target:
    """Return the target of a valid URL, with the proxy that the environment configures for it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if is_loopback(host) else select_proxy(url, get_environ_proxies(url))
    return Target(host, effective_port(parts), proxy)


def resolve(target: Target, seconds: float) -> list[str]:
    """Return the addresses of the host. Raises ProbeFailed. Not for targets behind a proxy, which resolves names."""
    try:
        return run_with_timeout(lambda: _look_up(target), seconds, "thingspace-lookup")
    except FutureTimeoutError:
        detail = f"no name server returned the address of {target.host} within {seconds:g} s"
    except UnicodeError:
        detail = f"{target.host} is not a valid host name"
    except OSError as error:
        detail = f"{target.host} does not resolve ({(error.strerror or 'no address').lower()})"
    raise ProbeFailed("dns", detail, "Check the spelling of the host name. A new DNS record takes time to propagate.")


def _look_up(target: Target) -> list[str]:
    entries = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in entries})


def is_private(address: str) -> bool:
    """Return whether an IP address is unreachable from the public internet."""
    return not ipaddress.ip_address(address).is_global


def explain_transport_error(target: Target, error: TransportError, ca_bundle: str, seconds: float) -> ProbeFailed:
    """Build the error for the step that failed."""
    outer, cause = error.__cause__, root_cause(error)
    if isinstance(outer, requests.exceptions.ProxyError):
        return _explain_proxy_error(target, cause)
    if isinstance(cause, ssl.SSLError):
        return ProbeFailed(
            "tls", *tls_errors.explain_tls_error(cause, target.host, target.port, target.proxy, ca_bundle, seconds)
        )
    if isinstance(cause, socket.gaierror):
        return ProbeFailed("dns", f"{target.host} does not resolve", "Check the spelling of the host name.")
    if outer is None or isinstance(outer, requests.exceptions.ReadTimeout):
        return ProbeFailed(
            "response",
            f"{target.address} accepted the connection, but {error}",
            "Check that the server there is up and does not hang. Check the scheme of the URL too: a server that "
            "expects TLS does not respond to http, nor the reverse.",
        )
    if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, ConnectionError):
        return ProbeFailed(
            "response", f"{target.address} does not speak HTTP", "If it speaks TLS, begin the URL with https://."
        )
    if isinstance(cause, ConnectionResetError | BrokenPipeError):  # includes http.client.RemoteDisconnected
        return ProbeFailed(
            "connect",
            f"{target.address} closed the connection without a response",
            "Check the log of the server there. A load balancer without a backend closes connections too.",
        )
    return ProbeFailed(
        "connect",
        f"{target.address}: {error}",
        f"Start the listener there, and open port {target.port} to the internet in firewall, security group and load "
        "balancer.",
    )


def _explain_proxy_error(target: Target, cause: BaseException) -> ProbeFailed:
    match = TUNNEL_ERROR.search(str(cause))
    detail = f"responded with {match.group(1)}" if match else "cannot be reached"
    return ProbeFailed(
        "connect",
        f"the proxy of this machine (HTTPS_PROXY) {detail} on a request for {target.address}",
        "Permit this machine to use the proxy, exclude the host by NO_PROXY, or correct host name and port.",
    )
