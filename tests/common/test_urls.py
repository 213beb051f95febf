"""URLs: which ones are valid, and which parts are masked."""

from __future__ import annotations

import pytest

from thingspace_provider.common.urls import (
    InvalidUrl,
    effective_port,
    is_loopback,
    mask_url,
    parse_http_url,
    strip_userinfo,
    url_secrets,
)

TOKEN = "t" * 32


@pytest.mark.parametrize(
    "url",
    ["https://sms.example.com", "http://[::1]:9001/x", "https://sms.example.com:443/a%20b", "HTTPS://EXAMPLE.COM"],
)
def test_a_valid_url_is_parsed(url: str) -> None:
    assert parse_http_url(url).hostname


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://[::1", "IPv6"),
        ("ftp://sms.example.com", "must begin with"),
        ("sms.example.com", "must begin with"),
        ("https://", "must begin with"),
        ("", "must begin with"),
        ("https://sms.example.com:0", "port"),
        ("https://sms.example.com:65536", "port"),
        ("https://sms.example.com:sentinel", "port"),
        ("https://sentinel@sms.example.com", "user name"),
        ("https://:sentinel@sms.example.com", "user name"),
        ("https://@sms.example.com", "user name"),
        ("https://sms.example.com/?sentinel", "query"),
        ("https://sms.example.com/?", "query"),
        ("https://sms.example.com/#sentinel", "fragment"),
        ("https://sms.example.com/#", "fragment"),
        ("https://sms.example.com/sen tinel", "spaces"),
        ("https://sms.example.com/\n", "spaces"),
        ("https://sms.example.com/\u200b", "control characters"),
    ],
)
def test_an_invalid_url_is_rejected_by_a_rule_that_does_not_repeat_it(url: str, rule: str) -> None:
    with pytest.raises(InvalidUrl, match=rule) as rejected:
        parse_http_url(url)
    assert "sentinel" not in str(rejected.value)


def test_query_and_userinfo_are_allowed_on_request() -> None:
    assert parse_http_url("https://sms.example.com/?a=b", allow_query=True).query == "a=b"
    assert parse_http_url("https://me:secret@sms.example.com", allow_userinfo=True).password == "secret"


def test_the_port_defaults_to_that_of_the_scheme() -> None:
    urls = ["http://example.com", "https://example.com", "https://example.com:9001"]
    assert [effective_port(parse_http_url(url)) for url in urls] == [80, 443, 9001]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://me:secret@sms.example.com:9001/x?token=1#y", "https://sms.example.com:9001/***?***"),
        (f"https://sms.example.com/callbacks/{TOKEN}/x", "https://sms.example.com/callbacks/***/***"),
        ("https://sms.example.com/cb/tok123456789", "https://sms.example.com/***/***"),
        ("https://sms.example.com/%63allbacks/", "https://sms.example.com/***/"),
        ("https://sms.example.com/cb/0000123456-00001", "https://sms.example.com/***/0000123456-00001"),
        ("http://[::1]:8080/x", "http://[::1]:8080/***"),
        ("https://sms.example.com:port/", "(not a URL)"),
    ],
)
def test_masking_hides_every_secret_part(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_secrets_are_the_parts_that_masking_hides() -> None:
    secrets = url_secrets(f"https://me:p%40ss@sms.example.com/{TOKEN}/x?query")
    assert {"p@ss", "p%40ss", "query", TOKEN} <= set(secrets)
    assert url_secrets("https://[") == ["https://["]
    assert {"a.b~c.d~e.f~g.h~", "a.b%7Ec.d~e.f~g.h~"} <= set(url_secrets("https://h/a.b%7Ec.d~e.f~g.h~/x"))


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("https://me:secret@sms.example.com", "https://sms.example.com"),
        ("me:secret@sms.example.com", "sms.example.com"),
        ("https://me:sec@ret@[", "https://["),
        ("sms.example.com", "sms.example.com"),
    ],
)
def test_userinfo_is_stripped_from_any_text(text: str, stripped: str) -> None:
    assert strip_userinfo(text) == stripped


def test_loopback_hosts_are_recognised() -> None:
    assert all(map(is_loopback, ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"]))
    assert not any(map(is_loopback, ["", "localhost.example.com", "10.0.0.1", "0.0.0.0", "::"]))  # noqa: S104  compared
