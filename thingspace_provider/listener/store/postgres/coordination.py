"""What replicas on one database have in common beside texts. See `shared.py`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from thingspace_provider.listener.store.base import StoreError
from thingspace_provider.listener.store.postgres.connections import ConnectionPool

LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0
NOW = "SELECT thingspace.now()"
NOTED = "SELECT number FROM thingspace.notes WHERE name = %(name)s"
NOTE = """
INSERT INTO thingspace.notes VALUES (%(name)s, %(number)s) ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""
# A lease is noted with its end, which also tells it from others. An end later than any that can be noted now is of a
# clock that was set back.
TAKE = """
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


class PostgresShared:
    """A turn is a lease by the server's clock: who dies, hangs or is cut off does not renew it, and others go on."""

    def __init__(self, links: ConnectionPool) -> None:
        self._links = links

    @contextlib.contextmanager
    def leader_lease(self, name: str) -> Iterator[Callable[[], bool]]:
        """A thread renews it."""
        lease = LeaderLease(self._links, f"turn {name}")
        try:
            yield lease.is_held
        finally:
            lease.close()

    def now(self) -> int:
        """The server's clock."""
        return int(self._links.rows(NOW, {})[0][0])

    def get_value(self, name: str) -> int:
        """The number that was noted last."""
        found = self._links.rows(NOTED, {"name": name})
        return int(found[0][0]) if found else 0

    def set_value(self, name: str, number: int) -> None:
        """Note a number for all."""
        self._links.rows(NOTE, {"name": name, "number": number})


class LeaderLease:
    """Taken when made, unless others have it; renewed until it is closed. Raises StoreFailed."""

    def __init__(self, links: ConnectionPool, name: str) -> None:
        self._links = links
        self._name = name
        self._until = 0.0
        self._end: int | None = None
        self._closed = threading.Event()
        self._change(TAKE)
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        if self._end is not None:
            self._thread.start()

    def is_held(self) -> bool:
        """Whether nobody else can have it now."""
        return self._end is not None and time.monotonic() < self._until

    def close(self) -> None:
        """Give it back."""
        if self._thread.is_alive():
            self._closed.set()
            self._thread.join()
        if self._end is not None:
            with contextlib.suppress(StoreError):  # then it ends by itself
                self._change(RELEASE)

    def _renew(self) -> None:
        while self._end is not None and not self._closed.wait(RENEW_SECONDS):
            with contextlib.suppress(StoreError):  # then once more, as long as it lasts
                self._change(RENEW)

    def _change(self, statement: str) -> None:
        asked = time.monotonic()
        lease = int(LEASE_SECONDS * 1_000_000)
        found = self._links.rows(statement, {"name": self._name, "lease": lease, "end": self._end})
        self._end = int(found[0][0]) if found else None
        self._until = asked + LEASE_SECONDS
