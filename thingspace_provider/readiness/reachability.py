"""The way to a callback URL, step by step, and in words: its name, the connection, what is in between.

A step that fails is a ProbeFailed. What this machine sees is not always what ThingSpace sees: the name may have
another address inside, and a proxy may stand on the way out.
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

from thingspace_provider.api.credentials import is_loopback
from thingspace_provider.api.transport import TransportError, root_cause
from thingspace_provider.common.timeouts import run_with_timeout
from thingspace_provider.common.urls import DEFAULT_PORTS
from thingspace_provider.readiness import tls_errors

TUNNEL_ERROR = re.compile(r"Tunnel connection failed: (\d{3})")


class ProbeFailed(Exception):
    """One attempt failed.

    Args:
        step: name, connection, TLS, answer or credential.
        what: what was seen, in words.
        remedy: what to do about it.
    """

    def __init__(self, step: str, detail: str, hint: str) -> None:
        super().__init__(step, detail, hint)
        self.step = step
        self.detail = detail
        self.hint = hint


@dataclass(frozen=True)
class Target:
    """Where a callback URL leads from this machine; `proxy` is the proxy's URL, which may hold a password."""

    host: str
    port: int
    proxy: str | None

    @property
    def address(self) -> str:
        """Host and port as a person would write them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(url: str) -> Target:
    """Host, port and proxy of a URL that was checked before."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if is_loopback(host) else select_proxy(url, get_environ_proxies(url))
    return Target(host, parts.port or DEFAULT_PORTS[parts.scheme], proxy)


def resolve(target: Target, seconds: float) -> list[str]:
    """The addresses of the host, or ProbeFailed when there are none; not for use where a proxy looks them up."""
    try:
        return run_with_timeout(lambda: _look_up(target), seconds, "thingspace-lookup")
    except FutureTimeoutError:
        detail = f"no name server told the address of {target.host} within {seconds:g} s"
    except UnicodeError:
        detail = f"{target.host} cannot be a host name"
    except OSError as error:
        detail = f"{target.host} does not resolve ({(error.strerror or 'no address').lower()})"
    raise ProbeFailed(
        "name", detail, "Look for a slip in the host name; a DNS record that is new needs time until it is seen."
    )


def _look_up(target: Target) -> list[str]:
    entries = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in entries})


def is_private(address: str) -> bool:
    """Whether an IP address means nothing on the public internet."""
    return not ipaddress.ip_address(address).is_global


def explain_transport_error(target: Target, error: TransportError, ca_bundle: str, seconds: float) -> ProbeFailed:
    """Which step it was that gave no answer."""
    outer, cause = error.__cause__, root_cause(error)
    if isinstance(outer, requests.exceptions.ProxyError):
        return _explain_proxy_error(target, cause)
    if isinstance(cause, ssl.SSLError):
        return ProbeFailed(
            "TLS", *tls_errors.explain_tls_error(cause, target.host, target.port, target.proxy, ca_bundle, seconds)
        )
    if isinstance(cause, socket.gaierror):
        return ProbeFailed("name", f"{target.host} does not resolve", "Look for a slip in the host name.")
    if outer is None or isinstance(outer, requests.exceptions.ReadTimeout):
        return ProbeFailed(
            "answer",
            f"{target.address} took the connection, but {error}",
            "What listens there is not up yet, hangs, or waits for TLS where the URL says http (or the reverse).",
        )
    if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, ConnectionError):
        return ProbeFailed(
            "answer", f"{target.address} does not speak HTTP", "If it speaks TLS there, the URL begins with https://."
        )
    if isinstance(cause, ConnectionResetError | BrokenPipeError):  # http.client's RemoteDisconnected is one too
        return ProbeFailed(
            "connection",
            f"{target.address} closed the connection without an answer",
            "Look into the log of what listens there; a load balancer without a backend does this too.",
        )
    return ProbeFailed(
        "connection",
        f"{target.address}: {error}",
        f"Start what listens there and open port {target.port} for the internet: firewall, security group, load balancer.",  # noqa: E501
    )


def _explain_proxy_error(target: Target, cause: BaseException) -> ProbeFailed:
    match = TUNNEL_ERROR.search(str(cause))
    detail = f"answered {match.group(1)}" if match else "cannot be reached"
    return ProbeFailed(
        "connection",
        f"the proxy on this machine's way out (HTTPS_PROXY) {detail} when asked for {target.address}",
        "Either the proxy does not let this machine through (NO_PROXY leaves it out), or the name or port is wrong.",
    )
