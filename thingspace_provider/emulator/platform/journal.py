"""Journal: a log of calls and deliveries, without secrets."""

from __future__ import annotations

import re
from collections import Counter, deque
from heapq import merge
from itertools import islice, takewhile
from operator import itemgetter
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

MAX_ENTRIES = 20_000
"""Entries of each kind. Older ones are dropped, but stay in the counts."""

MIN_SECRET_LENGTH = 16
"""Length from which a path segment is masked. Account names are as long, and shown."""

ACCOUNT_NAME = re.compile(r"\d{10}-\d{5}")


def mask_url(url: str) -> str:
    """Mask the credentials, the query and the secret-like path segments of a listener's URL.

    ThingSpace sends no authentication header, so users put a secret into the URL.
    """
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")
    host = f"***@{authority[2]}" if authority[1] else authority[2]
    path = "/".join("***" if _is_likely_secret(segment) else segment for segment in parts.path.split("/"))
    return urlunsplit((parts.scheme, host, path, "***" if parts.query else "", ""))


def _is_likely_secret(segment: str) -> bool:
    text = unquote(segment)
    return len(text) >= MIN_SECRET_LENGTH and not ACCOUNT_NAME.fullmatch(text)


class Journal:
    """The newest calls and deliveries, and the counts of all. Each entry has an `id` in the order of recording."""

    def __init__(self) -> None:
        self.calls: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)
        self.deliveries: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)
        self.counts: Counter[tuple[str, int]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.attempts = 0
        self._last_id = self._cleared_id = 0

    def record_call(self, entry: dict[str, Any]) -> None:
        """Record one call. The entry has at least `operation`, `status` and `accountName`."""
        self.calls.append(self._number(entry))
        self.counts[entry["operation"], entry["status"]] += 1

    def record_delivery(self, entry: dict[str, Any]) -> None:
        """Record one delivery attempt. The entry has at least `outcome` and `accountName`."""
        self.attempts += 1
        self.deliveries.append(self._number(entry))
        self.outcomes[entry["outcome"]] += 1

    def clear(self) -> None:
        """Remove every entry and count."""
        self.calls.clear()
        self.deliveries.clear()
        self.counts.clear()
        self.outcomes.clear()
        self._cleared_id = self._last_id

    def events(self, after: int, limit: int) -> dict[str, Any]:
        """Return the newest calls and deliveries with ids above `after`, oldest first.

        Entries up to `clearedId` were removed from the journal. `lastId` is the `after` of the next request.
        """
        kinds = (("call", self.calls), ("delivery", self.deliveries))
        newer = [
            [{"kind": kind, **entry} for entry in takewhile(lambda entry: entry["id"] > after, reversed(entries))]
            for kind, entries in kinds
        ]
        newest = list(islice(merge(*newer, key=itemgetter("id"), reverse=True), limit))
        return {"events": newest[::-1], "lastId": self._last_id, "clearedId": self._cleared_id}

    def _number(self, entry: dict[str, Any]) -> dict[str, Any]:
        self._last_id += 1
        return {"id": self._last_id, **entry}

    def as_json(self, operation: str | None = None, account: str | None = None) -> dict[str, Any]:
        """Return calls and deliveries, oldest first and optionally filtered, and the counts of all."""

        def is_selected(entry: dict[str, Any]) -> bool:
            return account is None or entry["accountName"] == account

        return {
            "calls": [call for call in self.calls if is_selected(call) and operation in {None, call["operation"]}],
            "deliveries": [delivery for delivery in self.deliveries if is_selected(delivery)],
            "counts": [
                {"operation": name, "status": status, "count": count}
                for (name, status), count in sorted(self.counts.items())
            ],
            "outcomes": dict(sorted(self.outcomes.items())),
        }
