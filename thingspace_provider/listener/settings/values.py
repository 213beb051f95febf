"""Reads single values of settings. What is wrong with one is said without repeating it: it may be a secret."""

from __future__ import annotations

import re

UNENCODABLE = re.compile("[\0\ud800-\udfff]")  # the latter is what bytes that are no UTF-8 become in the environment


class InvalidValue(Exception):
    """A value cannot be used; the text says why, without repeating it."""


def parse_text(value: object) -> str:
    """A string as it is, which can be sent and stored. Raises Wrong."""
    if not isinstance(value, str):
        raise InvalidValue(f"must be text, not {describe_type(value)}: quote it")
    if UNENCODABLE.search(value):
        raise InvalidValue("must be UTF-8 text without NUL")
    return value


def parse_int(value: object, min_value: int, max_value: int) -> int:
    """A number from `least` to `most`. Raises Wrong."""
    if isinstance(value, bool) or not isinstance(value, int) or not min_value <= value <= max_value:
        raise InvalidValue(f"must be a number from {min_value} to {max_value}")
    return value


def describe_type(value: object) -> str:
    """What a value is, in the words of who writes a settings file."""
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else type(value).__name__


def parse_number(value: object, min_value: float, max_value: float) -> float:
    """A number from `least` to `most`, whole or not. Raises Wrong."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not min_value <= value <= max_value:
        raise InvalidValue(f"must be a number from {min_value:g} to {max_value:g}")
    return float(value)


def parse_choice(value: object, choices: tuple[str, ...]) -> str:
    """One of the known words. Raises Wrong."""
    if value is False and "off" in choices:  # how YAML reads an unquoted off
        return "off"
    if value not in choices:
        raise InvalidValue(f"must be one of {', '.join(choices)}")
    return str(value)
