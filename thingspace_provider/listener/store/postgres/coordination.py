"""Coordination of the replicas on one PostgreSQL database."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from thingspace_provider.listener.store.base import StoreError
from thingspace_provider.listener.store.postgres.connections import ConnectionPool

NOW = "SELECT thingspace.clock_time()"
GET_VALUE = "SELECT value FROM thingspace.coordination WHERE name = %(name)s"
SET_VALUE = """
INSERT INTO thingspace.coordination VALUES (%(name)s, %(value)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
# The value of a lease is its end, which also identifies its holder. A later end than a new lease has is of a clock that
# was set back.
ACQUIRE = """
INSERT INTO thingspace.coordination AS lease VALUES (%(name)s, thingspace.clock_time() + %(lease_us)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
WHERE lease.value <= thingspace.clock_time() OR lease.value > excluded.value + %(lease_us)s
RETURNING value
"""
RENEW = """
UPDATE thingspace.coordination SET value = thingspace.clock_time() + %(lease_us)s
WHERE name = %(name)s AND value = %(expires_at)s
RETURNING value
"""
RELEASE = "UPDATE thingspace.coordination SET value = 0 WHERE name = %(name)s AND value = %(expires_at)s"


class PostgresCoordination:
    """Leader leases by the clock of the server, and shared values. See `base.Coordination`.

    A replica that ends, hangs or loses its connection does not renew its lease, and another one acquires it.
    """

    def __init__(self, pool: ConnectionPool, lease_seconds: float = 20.0, renew_interval_seconds: float = 5.0) -> None:
        self._pool = pool
        self._lease_seconds = lease_seconds
        self._renew_interval_seconds = renew_interval_seconds

    @contextlib.contextmanager
    def leader_lease(self, name: str) -> Iterator[Callable[[], bool]]:
        """Try to hold a lease; a thread renews it."""
        lease = LeaderLease(self._pool, f"lease {name}", self._lease_seconds, self._renew_interval_seconds)
        try:
            yield lease.is_held
        finally:
            lease.close()

    def now(self) -> int:
        """Return the time of the server."""
        return int(self._pool.fetch_rows(NOW)[0][0])

    def get_value(self, name: str) -> int:
        """Return the last value."""
        rows = self._pool.fetch_rows(GET_VALUE, {"name": name})
        return int(rows[0][0]) if rows else 0

    def set_value(self, name: str, value: int) -> None:
        """Set a value."""
        self._pool.fetch_rows(SET_VALUE, {"name": name, "value": value})


class LeaderLease:
    """Lease that is acquired at construction, unless a replica holds it, and renewed until `close`."""

    def __init__(self, pool: ConnectionPool, name: str, lease_seconds: float, renew_interval_seconds: float) -> None:
        self._pool = pool
        self._name = name
        self._lease_seconds = lease_seconds
        self._renew_interval_seconds = renew_interval_seconds
        self._held_until = 0.0
        self._expires_at: int | None = None
        self._closed = threading.Event()
        self._execute(ACQUIRE)
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        if self._expires_at is not None:
            self._thread.start()

    def is_held(self) -> bool:
        """Return whether no other replica can hold it now."""
        return self._expires_at is not None and time.monotonic() < self._held_until

    def close(self) -> None:
        """Release the lease. If that fails, it expires."""
        if self._thread.is_alive():
            self._closed.set()
            self._thread.join()
        if self._expires_at is not None:
            with contextlib.suppress(StoreError):
                self._execute(RELEASE)

    def _renew(self) -> None:
        while self._expires_at is not None and not self._closed.wait(self._renew_interval_seconds):
            with contextlib.suppress(StoreError):  # the next attempt is after the interval
                self._execute(RENEW)

    def _execute(self, statement: str) -> None:
        started = time.monotonic()
        lease_us = int(self._lease_seconds * 1_000_000)
        values = {"name": self._name, "lease_us": lease_us, "expires_at": self._expires_at}
        rows = self._pool.fetch_rows(statement, values)
        self._expires_at = int(rows[0][0]) if rows else None
        self._held_until = started + self._lease_seconds
