"""Parsers for HTTP header values."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime


def parse_retry_after(value: str, now: float) -> float:
    """Return the seconds that a `Retry-After` header requests, 0 when it is missing or invalid.

    The header holds either seconds or a date (RFC 9110, section 10.2.3). A date without a zone is UTC. The result has
    no upper bound: every caller sets its own.

    Args:
        value: the header's value.
        now: the present time in seconds since the epoch.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        retry_at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # OverflowError: a year or an offset outside datetime's range
        return 0.0
    if retry_at.tzinfo is None:
        retry_at = retry_at.replace(tzinfo=timezone.utc)
    try:
        return max(retry_at.timestamp() - now, 0.0)
    except OverflowError:
        return 0.0
