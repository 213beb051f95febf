"""Redacts known secrets in foreign text, for example in an error page that echoes the request."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MIN_SECRET_LENGTH = 6  # characters; a shorter secret is part of many words, and redacting these would reveal it


class Redactor:
    """Replaces secrets by `***`, whatever encoding the foreign text uses for them.

    Args:
        values: the secrets. Values that are not strings, or shorter than `MIN_SECRET_LENGTH`, are ignored.
    """

    def __init__(self, values: Iterable[object] = ()) -> None:
        self._encodings: set[str] = set()
        self.add(values)

    def add(self, values: Iterable[object]) -> None:
        """Redact these values too."""
        for value in values:
            if isinstance(value, str) and len(value) >= MIN_SECRET_LENGTH:
                self._encodings |= _encodings(value)

    def redact(self, text: str) -> str:
        """Return the text with every secret replaced, the longest first, because it can contain a shorter one."""
        for encoding in sorted(self._encodings, key=len, reverse=True):
            text = text.replace(encoding, "***")
        return text


def _encodings(value: str) -> set[str]:
    """Return a value as plain text, and as JSON, URLs, forms and HTML encode it."""
    value = value.encode(errors="replace").decode()  # a lone surrogate cannot be sent, so it cannot be echoed
    escaped = {quote(value), quote(value, safe=""), quote_plus(value)}
    lower_case = {re.sub("%[0-9A-F]{2}", lambda match: match.group().lower(), form) for form in escaped}
    in_json = {json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)}
    return {value, html.escape(value)} | escaped | lower_case | in_json
