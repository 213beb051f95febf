"""URLs: how one is shown to a person, recognisable, but without the secrets that it may hold."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
TOKEN_LIKE = re.compile(r"[A-Za-z0-9_\-]{20,}")


def mask_url(url: str) -> str:
    """The URL without user, query and fragment, and with long token-like path segments replaced by `***`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not a URL)"
    host = f"[{host}]" if ":" in host else host
    path = "/".join("***" if TOKEN_LIKE.fullmatch(part) else part for part in parts.path.split("/"))
    return f"{parts.scheme}://{host}{port}{path}" + ("?***" if parts.query else "")


def url_secrets(url: str) -> list[str]:
    """What `shown` leaves out of a URL: password, query, and path segments like tokens."""
    try:
        parts = urlsplit(url)
        password = parts.password or ""
    except ValueError:
        return [url]
    tokens = [part for part in parts.path.split("/") if TOKEN_LIKE.fullmatch(part)]
    return [unquote(password), password, parts.query, *tokens]


def strip_userinfo(url: str) -> str:
    """What somebody gave for an address, whatever it is, without user and password: nothing before its last `@`."""
    before, _, after = url.rpartition("@")
    scheme = re.match(r"[A-Za-z]+://", before)
    return (scheme.group() if scheme else "") + after
