"""What replicas on one database have in common beside texts. See `shared.py`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from thingspace_provider.listener.store.base import StoreError
from thingspace_provider.listener.store.postgres.connections import ConnectionPool

LEASE_SECONDS = 20.0
RENEW_INTERVAL_SECONDS = 5.0
NOW = "SELECT thingspace.now()"
GET_VALUE = "SELECT number FROM thingspace.notes WHERE name = %(name)s"
SET_VALUE = """
INSERT INTO thingspace.notes VALUES (%(name)s, %(number)s) ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""
# A lease is noted with its end, which also tells it from others. An end later than any that can be noted now is of a
# clock that was set back.
ACQUIRE = """
INSERT INTO thingspace.notes AS lease VALUES (%(name)s, thingspace.now() + %(lease)s)
ON CONFLICT (name) DO UPDATE SET number = excluded.number
WHERE lease.number <= thingspace.now() OR lease.number > excluded.number + %(lease)s
RETURNING number
"""
RENEW = """
UPDATE thingspace.notes SET number = thingspace.now() + %(lease)s WHERE name = %(name)s AND number = %(end)s
RETURNING number
"""
RELEASE = "UPDATE thingspace.notes SET number = 0 WHERE name = %(name)s AND number = %(end)s"


class PostgresCoordination:
    """A turn is a lease by the server's clock: who dies, hangs or is cut off does not renew it, and others go on."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    @contextlib.contextmanager
    def leader_lease(self, name: str) -> Iterator[Callable[[], bool]]:
        """A thread renews it."""
        lease = LeaderLease(self._pool, f"turn {name}")
        try:
            yield lease.is_held
        finally:
            lease.close()

    def now(self) -> int:
        """The server's clock."""
        return int(self._pool.fetch_rows(NOW, {})[0][0])

    def get_value(self, name: str) -> int:
        """The number that was noted last."""
        rows = self._pool.fetch_rows(GET_VALUE, {"name": name})
        return int(rows[0][0]) if rows else 0

    def set_value(self, name: str, value: int) -> None:
        """Note a number for all."""
        self._pool.fetch_rows(SET_VALUE, {"name": name, "number": value})


class LeaderLease:
    """Taken when made, unless others have it; renewed until it is closed. Raises StoreFailed."""

    def __init__(self, pool: ConnectionPool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._held_until = 0.0
        self._expires_at: int | None = None
        self._closed = threading.Event()
        self._execute(ACQUIRE)
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        if self._expires_at is not None:
            self._thread.start()

    def is_held(self) -> bool:
        """Whether nobody else can have it now."""
        return self._expires_at is not None and time.monotonic() < self._held_until

    def close(self) -> None:
        """Give it back."""
        if self._thread.is_alive():
            self._closed.set()
            self._thread.join()
        if self._expires_at is not None:
            with contextlib.suppress(StoreError):  # then it ends by itself
                self._execute(RELEASE)

    def _renew(self) -> None:
        while self._expires_at is not None and not self._closed.wait(RENEW_INTERVAL_SECONDS):
            with contextlib.suppress(StoreError):  # then once more, as long as it lasts
                self._execute(RENEW)

    def _execute(self, statement: str) -> None:
        started = time.monotonic()
        lease_us = int(LEASE_SECONDS * 1_000_000)
        rows = self._pool.fetch_rows(statement, {"name": self._name, "lease": lease_us, "end": self._expires_at})
        self._expires_at = int(rows[0][0]) if rows else None
        self._held_until = started + LEASE_SECONDS
