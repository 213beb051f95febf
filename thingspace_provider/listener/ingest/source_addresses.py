"""Source address of a callback, also behind proxies, and the policy for addresses that are not allowed.

A proxy appends the address of its client to `X-Forwarded-For`. With N own proxies, the outermost of them wrote the
Nth entry from the right, and whatever a client wrote there is left of it.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from starlette.types import Scope

from thingspace_provider.listener.ingest.settings import Network

ADDRESS_WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+")  # as some proxies write it
CACHE_SIZE = 1024  # addresses


class SourceAddressPolicy:
    """Matches the client address of a request against the allowed networks. Trusts `hops` own proxies."""

    def __init__(self, mode: str, networks: tuple[Network, ...], hops: int) -> None:
        self.mode = mode
        self._networks = networks
        self._hops = hops
        self._cached_match = functools.lru_cache(CACHE_SIZE)(self._matches_network)

    def client_address(self, scope: Scope) -> str:
        """Return the address of the client; "" if the request bypassed one of the proxies."""
        if not self._hops:
            return str(scope["client"][0]) if scope.get("client") else ""
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        entries = ",".join(lines).split(",")
        return entries[-self._hops].strip() if len(entries) >= self._hops else ""

    def is_expected(self, address: str) -> bool:
        """Return whether the address is in an allowed network."""
        return self._cached_match(address)

    def _matches_network(self, text: str) -> bool:
        match = ADDRESS_WITH_PORT.fullmatch(text)
        try:
            address = ipaddress.ip_address((match[1] or match[2]) if match else text)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
