"""Where a callback comes from: ThingSpace's published addresses, also behind proxies.

Proxies append to `X-Forwarded-For` who connected to them. So with N of ours, the Nth entry from the right was written
by the outermost of them, and whatever a sender wrote there itself stands left of it. These are addresses of public
clouds: they filter, they prove nothing.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from starlette.types import Scope

from thingspace_provider.listener.settings.values import (
    InvalidValue,
    describe_type,
    parse_choice,
    parse_int,
    parse_text,
)

OFF, LOG, ENFORCE = MODES = ("off", "log", "enforce")
PUBLISHED_ADDRESSES = (
    "3.87.163.45",
    "3.91.119.203",
    "54.197.62.209",
    "35.165.205.14",
    "54.200.43.232",
    "34.216.81.234",
    "137.117.33.109",
    "168.62.173.153",
)
MAX_PROXY_HOPS = 10
ADDRESS_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")  # as some proxies write it
CACHE_SIZE = 1024  # answers, by address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_mode(value: object) -> str:
    """One of MODES. Raises Wrong."""
    return parse_choice(value, MODES)


def parse_addresses(value: object) -> tuple[Network, ...]:
    """A list of addresses and networks. Raises Wrong."""
    if not isinstance(value, list):
        raise InvalidValue(f"must be a list of addresses, not {describe_type(value)}")
    try:
        return tuple(ipaddress.ip_network(parse_text(entry).strip()) for entry in value)
    except ValueError as error:
        raise InvalidValue(f"must be addresses or networks: {error}") from None


def parse_hops(value: object) -> int:
    """How many proxies are ours. Raises Wrong."""
    return parse_int(value, 0, MAX_PROXY_HOPS)


class SourceAddressPolicy:
    """Which addresses are expected, and how many proxies stand between them and here."""

    def __init__(self, mode: str, networks: tuple[Network, ...], hops: int) -> None:
        self.mode = mode
        self._networks = networks
        self._hops = hops
        self._cached_match = functools.lru_cache(CACHE_SIZE)(self._matches_network)

    def client_address(self, scope: Scope) -> str:
        """Who sent a request, as far as it can be told; "" when it came past a proxy that should have said so."""
        if not self._hops:
            return str(scope["client"][0]) if scope.get("client") else ""
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        entries = ",".join(lines).split(",")
        return entries[-self._hops].strip() if len(entries) >= self._hops else ""

    def is_expected(self, address: str) -> bool:
        """Whether ThingSpace sends from there."""
        return self._cached_match(address)

    def _matches_network(self, text: str) -> bool:
        match = ADDRESS_WITH_PORT.fullmatch(text)
        try:
            address = ipaddress.ip_address((match[1] or match[2]) if match else text)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
