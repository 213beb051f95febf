"""Reads single values of settings. What is wrong with one is said without repeating it: it may be a secret."""

from __future__ import annotations

import re

UNENCODABLE = re.compile("[\0\ud800-\udfff]")  # the latter is what bytes that are no UTF-8 become in the environment


class InvalidValue(Exception):
    """A value cannot be used; the text says why, without repeating it."""


def parse_text(value: object) -> str:
    """A string as it is, which can be sent and stored. Raises Wrong."""
    if not isinstance(value, str):
        raise InvalidValue(f"must be text, not {type_name(value)}: quote it")
    if UNENCODABLE.search(value):
        raise InvalidValue("must be UTF-8 text without NUL")
    return value


def parse_int(value: object, least: int, most: int) -> int:
    """A number from `least` to `most`. Raises Wrong."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidValue(f"must be a number from {least} to {most}")
    return value


def type_name(value: object) -> str:
    """What a value is, in the words of who writes a settings file."""
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else type(value).__name__


def parse_number(value: object, least: float, most: float) -> float:
    """A number from `least` to `most`, whole or not. Raises Wrong."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidValue(f"must be a number from {least:g} to {most:g}")
    return float(value)


def parse_choice(value: object, known: tuple[str, ...]) -> str:
    """One of the known words. Raises Wrong."""
    if value is False and "off" in known:  # how YAML reads an unquoted off
        return "off"
    if value not in known:
        raise InvalidValue(f"must be one of {', '.join(known)}")
    return str(value)
