"""What was asked of the emulator and what it sent, with the outcome of each and without a secret."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any
from urllib.parse import urlsplit, urlunsplit

MAX_ENTRIES = 20_000
"""Entries of each kind; the oldest go first. Counts go on."""


MIN_SECRET_LENGTH = 20
"""A path segment of at least so many characters, with letters and digits in it, is taken for a secret."""


def mask_url(url: str) -> str:
    """A listener's address as it may be shown: without credentials, query, and segments that look like a secret.

    A listener cannot be told by a header who is calling, so its address is where people put what only ThingSpace
    should know.
    """
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")
    host = f"***@{authority[2]}" if authority[1] else authority[2]
    path = "/".join("***" if _is_likely_secret(segment) else segment for segment in parts.path.split("/"))
    return urlunsplit((parts.scheme, host, path, "***" if parts.query else "", ""))


def _is_likely_secret(segment: str) -> bool:
    kinds = (str.isdigit, str.isalpha)
    return len(segment) >= MIN_SECRET_LENGTH and all(any(map(kind, segment)) for kind in kinds)


class Journal:
    """The newest calls and deliveries, and the count of all of them."""

    def __init__(self) -> None:
        self.calls: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)
        self.deliveries: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)
        self.counts: Counter[tuple[str, int]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.attempts = 0

    def record_call(self, entry: dict[str, Any]) -> None:
        """Note one request to ThingSpace's face; `entry` holds operation, status, accountName and the like."""
        self.calls.append(entry)
        self.counts[entry["operation"], entry["status"]] += 1

    def record_delivery(self, entry: dict[str, Any]) -> None:
        """Note one attempt to post to a listener."""
        self.attempts += 1
        self.deliveries.append(entry)
        self.outcomes[entry["outcome"]] += 1

    def clear(self) -> None:
        """Forget everything."""
        self.calls.clear()
        self.deliveries.clear()
        self.counts.clear()
        self.outcomes.clear()

    def as_json(self, operation: str | None = None, account: str | None = None) -> dict[str, Any]:
        """`{"calls", "deliveries", "counts", "outcomes"}`, the oldest entry first, filtered where asked."""

        def is_selected(entry: dict[str, Any]) -> bool:
            return account is None or entry["accountName"] == account

        return {
            "calls": [c for c in self.calls if is_selected(c) and operation in {None, c["operation"]}],
            "deliveries": [d for d in self.deliveries if is_selected(d)],
            "counts": [
                {"operation": name, "status": status, "count": number}
                for (name, status), number in sorted(self.counts.items())
            ],
            "outcomes": dict(sorted(self.outcomes.items())),
        }
