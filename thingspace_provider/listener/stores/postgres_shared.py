"""What replicas on one database have in common beside texts. See `shared.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from thingspace_provider.listener.store import StoreFailed
from thingspace_provider.listener.stores.postgres_link import Links

TURN = "SELECT pg_try_advisory_lock('thingspace.notes'::regclass::integer, hashtext(%(name)s))"
NOW = "SELECT thingspace.now()"
NOTED = "SELECT number FROM thingspace.notes WHERE name = %(name)s"
NOTE = """
INSERT INTO thingspace.notes VALUES (%(name)s, %(number)s) ON CONFLICT (name) DO UPDATE SET number = excluded.number
"""


class PostgresShared:
    """A turn is a lock of a connection of its own: who dies or is cut off gives it back."""

    def __init__(self, links: Links) -> None:
        self._links = links

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Whether nobody else has it; nobody has it while the database cannot be reached."""
        link, mine = self._links.another(), False
        try:
            with contextlib.suppress(StoreFailed):
                mine = link.rows(TURN, {"name": name}) == [(True,)]
            yield mine
        finally:
            link.close()

    def now(self) -> int:
        """The server's clock."""
        return int(self._links.rows(NOW, {})[0][0])

    def noted(self, name: str) -> int:
        """The number that was noted last."""
        found = self._links.rows(NOTED, {"name": name})
        return int(found[0][0]) if found else 0

    def note(self, name: str, number: int) -> None:
        """Note a number for all."""
        self._links.rows(NOTE, {"name": name, "number": number})
