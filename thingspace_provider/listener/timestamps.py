"""Timestamps: ISO 8601 in JSON, microseconds after 1970 in stores."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ISO_TIMESTAMP = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,6})?\d*(Z|[+-]\d{2}:\d{2})?")


def format_timestamp(microseconds: int) -> str:
    """Format microseconds after 1970 as `2026-03-01T08:15:30.250Z`."""
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_timestamp(text: str) -> int:
    """Parse an ISO 8601 time into microseconds after 1970. Without a zone it is UTC. Raises ValueError."""
    match = ISO_TIMESTAMP.fullmatch(text)
    if not match:
        raise ValueError(text)
    zone = (match[3] or "Z").replace("Z", "+00:00")
    fraction = int((match[2] or ".0")[1:].ljust(6, "0"))
    return (datetime.fromisoformat(match[1] + zone) - EPOCH) // timedelta(microseconds=1) + fraction
