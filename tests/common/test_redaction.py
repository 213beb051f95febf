"""Redaction of secrets in every encoding that foreign text uses."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from thingspace_provider.common.redaction import MIN_SECRET_LENGTH, Redactor

SECRET = 's3nt%20"nel/&\N{EURO SIGN}'


@pytest.mark.parametrize("encode", [str, quote, quote_plus, html.escape, json.dumps])
def test_a_secret_is_redacted_in_every_encoding(encode: Callable[[str], str]) -> None:
    redacted = Redactor([SECRET]).redact(f"before {encode(SECRET)} after")
    assert redacted.replace('"***"', "***") == "before *** after"


def test_percent_escapes_in_lower_case_are_redacted() -> None:
    text = "".join(f"%{byte:02x}" if byte > 127 or chr(byte) in '"/&%' else chr(byte) for byte in SECRET.encode())
    assert Redactor([SECRET]).redact(text) == "***"


def test_a_longer_secret_is_redacted_before_a_shorter_one_that_it_contains() -> None:
    assert Redactor(["secret", "secret-and-more"]).redact("secret-and-more, secret") == "***, ***"


def test_short_values_and_other_types_are_ignored() -> None:
    short = "x" * (MIN_SECRET_LENGTH - 1)
    assert Redactor([short, "", None, 7]).redact(f"{short} None 7") == f"{short} None 7"


def test_added_values_are_redacted_too() -> None:
    redactor = Redactor()
    redactor.add(["sentinel"])
    assert redactor.redact("a sentinel") == "a ***"
