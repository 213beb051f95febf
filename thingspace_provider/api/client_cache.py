"""Cache of clients, so that all resources of a process share one access token and one session."""

from __future__ import annotations

import threading

from thingspace_provider import api


class ClientCache:
    """One client per credentials. Safe for use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[api.Credentials, api.ThingSpaceClient] = {}

    def get(self, credentials: api.Credentials, limits: api.Limits | None = None) -> api.ThingSpaceClient:
        """Return the client of these credentials; create it with `limits` at the first call."""
        with self._lock:
            if credentials not in self._clients:
                self._clients[credentials] = api.ThingSpaceClient(credentials, limits=limits)
            return self._clients[credentials]

    def logout(self) -> None:
        """End every session."""
        for client in self._clients.values():
            client.logout()
