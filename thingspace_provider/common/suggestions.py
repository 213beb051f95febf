"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint for an unknown word: the most similar known one, or all of them.

    Args:
        word: the unknown word.
        known: all words that are valid in its place.
        prefix: prefix of every known word, for example a namespace.
    """
    names = sorted(known)
    matches = difflib.get_close_matches(word, names, 1)
    return f"did you mean {prefix}{matches[0]}?" if matches else f"known are {', '.join(names)}"
