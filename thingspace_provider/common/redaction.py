"""Blots secrets out of texts that somebody else wrote, as a server that repeats what it was sent."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MIN_SECRET_LENGTH = 6  # characters; a shorter one is part of many words, and blotting these out would tell it


class Redactor:
    """Values that are never shown, however they are escaped.

    Args:
        values: what is secret; what is no text, or too short to be one, is passed over.
    """

    def __init__(self, values: Iterable[object] = ()) -> None:
        self._encodings: set[str] = set()
        self.add(values)

    def add(self, values: Iterable[object]) -> None:
        """Never show these, either."""
        for value in values:
            if isinstance(value, str) and len(value) >= MIN_SECRET_LENGTH:
                self._encodings |= _encodings(value)

    def redact(self, text: str) -> str:
        """The text with `***` for every secret in it."""
        for encoding in sorted(self._encodings, key=len, reverse=True):
            text = text.replace(encoding, "***")
        return text


def _encodings(value: str) -> set[str]:
    """A value as it is, in JSON, in a URL or a form, and in HTML."""
    value = value.encode(errors="replace").decode()  # half of a surrogate pair cannot be sent, nor come back
    escaped = {quote(value), quote(value, safe=""), quote_plus(value)}
    lower = {re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), form) for form in escaped}
    in_json = {json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    return {value, html.escape(value)} | escaped | lower | in_json
