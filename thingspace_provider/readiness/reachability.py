"""The way to a callback URL, step by step, and in words: its name, the connection, what is in between.

A step that fails is a NotProven. What this machine sees is not always what ThingSpace sees: the name may have
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
from thingspace_provider.api.transport import NoAnswer, innermost
from thingspace_provider.common.timeouts import in_time
from thingspace_provider.common.urls import DEFAULT_PORTS
from thingspace_provider.readiness import tls_errors

TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


class NotProven(Exception):
    """One attempt failed.

    Args:
        step: name, connection, TLS, answer or credential.
        what: what was seen, in words.
        remedy: what to do about it.
    """

    def __init__(self, step: str, what: str, remedy: str) -> None:
        super().__init__(step, what, remedy)
        self.step = step
        self.what = what
        self.remedy = remedy


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


def target(url: str) -> Target:
    """Host, port and proxy of a URL that was checked before."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if is_loopback(host) else select_proxy(url, get_environ_proxies(url))
    return Target(host, parts.port or DEFAULT_PORTS[parts.scheme], proxy)


def addresses(to: Target, seconds: float) -> list[str]:
    """The addresses of the host, or NotProven when there are none; not for use where a proxy looks them up."""
    try:
        return in_time(lambda: _look_up(to), seconds, "thingspace-lookup")
    except FutureTimeoutError:
        what = f"no name server told the address of {to.host} within {seconds:g} s"
    except UnicodeError:
        what = f"{to.host} cannot be a host name"
    except OSError as error:
        what = f"{to.host} does not resolve ({(error.strerror or 'no address').lower()})"
    raise NotProven(
        "name", what, "Look for a slip in the host name; a DNS record that is new needs time until it is seen."
    )


def _look_up(to: Target) -> list[str]:
    found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    return sorted({str(entry[4][0]) for entry in found})


def is_private(address: str) -> bool:
    """Whether an IP address means nothing on the public internet."""
    return not ipaddress.ip_address(address).is_global


def not_reached(to: Target, error: NoAnswer, ca_bundle: str, seconds: float) -> NotProven:
    """Which step it was that gave no answer."""
    outer, cause = error.__cause__, innermost(error)
    if isinstance(outer, requests.exceptions.ProxyError):
        return _not_through_proxy(to, cause)
    if isinstance(cause, ssl.SSLError):
        return NotProven("TLS", *tls_errors.in_words(cause, to.host, to.port, to.proxy, ca_bundle, seconds))
    if isinstance(cause, socket.gaierror):
        return NotProven("name", f"{to.host} does not resolve", "Look for a slip in the host name.")
    if outer is None or isinstance(outer, requests.exceptions.ReadTimeout):
        return NotProven(
            "answer",
            f"{to.address} took the connection, but {error}",
            "What listens there is not up yet, hangs, or waits for TLS where the URL says http (or the reverse).",
        )
    if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, ConnectionError):
        return NotProven(
            "answer", f"{to.address} does not speak HTTP", "If it speaks TLS there, the URL begins with https://."
        )
    if isinstance(cause, ConnectionResetError | BrokenPipeError):  # http.client's RemoteDisconnected is one too
        return NotProven(
            "connection",
            f"{to.address} closed the connection without an answer",
            "Look into the log of what listens there; a load balancer without a backend does this too.",
        )
    return NotProven(
        "connection",
        f"{to.address}: {error}",
        f"Start what listens there and open port {to.port} for the internet: firewall, security group, load balancer.",
    )


def _not_through_proxy(to: Target, cause: BaseException) -> NotProven:
    refused = TUNNEL.search(str(cause))
    what = f"answered {refused.group(1)}" if refused else "cannot be reached"
    return NotProven(
        "connection",
        f"the proxy on this machine's way out (HTTPS_PROXY) {what} when asked for {to.address}",
        "Either the proxy does not let this machine through (NO_PROXY leaves it out), or the name or port is wrong.",
    )
