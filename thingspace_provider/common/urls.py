"""HTTP URLs: parsing, masking, and the secrets that they can hold."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
MIN_TOKEN_LENGTH = 16  # characters of a path token of a listener of this project
PUBLIC_SEGMENT = re.compile(r"|callbacks|\d{10}-\d{5}")  # path segments that cannot be a token; the last is an account


class InvalidUrl(ValueError):
    """A URL breaks a rule. The message names the rule and never repeats the URL, which can hold a secret."""


def parse_http_url(text: str, *, allow_query: bool = False, allow_userinfo: bool = False) -> SplitResult:
    """Parse an absolute http(s) URL without a fragment. Raises InvalidUrl.

    Args:
        text: the URL.
        allow_query: whether it can have a query.
        allow_userinfo: whether it can have a user name and a password.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise InvalidUrl("the host is invalid: write an IPv6 address between [ and ]") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidUrl("it must begin with http:// or https:// and a host name")
    try:
        is_valid_port = parts.port != 0
    except ValueError:
        is_valid_port = False
    if not is_valid_port:
        raise InvalidUrl("the port must be a number from 1 to 65535")
    if not allow_userinfo and (parts.username is not None or parts.password is not None):
        raise InvalidUrl("it must not hold a user name or a password")
    if not allow_query and (parts.query or text.endswith("?")):
        raise InvalidUrl("it must not have a query")
    if "#" in text:
        raise InvalidUrl("it must not have a fragment")
    if any(not character.isprintable() or character.isspace() for character in text):
        raise InvalidUrl("it must not hold spaces or control characters")
    return parts


def effective_port(parts: SplitResult) -> int:
    """Return the port of a parsed URL, or the default port of its scheme."""
    return parts.port or DEFAULT_PORTS[parts.scheme]


def mask_url(url: str) -> str:
    """Return the URL without user, query and fragment, and with `***` for each path segment that can be a token.

    Any text can be the token of a listener that is not of this project, so only `PUBLIC_SEGMENT` is shown.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not a URL)"
    host = f"[{host}]" if ":" in host else host
    path = "/".join("***" if _can_be_token(segment) else segment for segment in parts.path.split("/"))
    return f"{parts.scheme}://{host}{port}{path}" + ("?***" if parts.query else "")


def url_secrets(url: str) -> list[str]:
    """Return the parts of a URL that `mask_url` hides: password, query, and path segments that can be tokens."""
    try:
        parts = urlsplit(url)
        password = parts.password or ""
    except ValueError:
        return [url]
    tokens = [segment for segment in parts.path.split("/") if _can_be_token(segment)]
    return [unquote(password), password, parts.query, *tokens, *map(unquote, tokens)]


def _can_be_token(segment: str) -> bool:
    return not PUBLIC_SEGMENT.fullmatch(segment)


def strip_userinfo(url: str) -> str:
    """Return any text that was given as a URL without everything between its scheme and its last `@`."""
    before, _, after = url.rpartition("@")
    scheme = re.match(r"[A-Za-z]+://", before)
    return (scheme.group() if scheme else "") + after


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
