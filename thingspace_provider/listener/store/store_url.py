"""URLs of stores: validation, and masking of the password."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from thingspace_provider.listener.setting_types import InvalidValue

SQLITE_SCHEME = "sqlite:///"
POSTGRES_SCHEMES = ("postgresql://", "postgres://")
SECRET_PARAMETER = re.compile(r"(?<=password=)[^&]*")  # password and sslpassword
MASK = "***"
HOST_PATTERN = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]+)?")


def parse_store_url(url: str) -> str:
    """Validate a URL. Raises InvalidValue, whose message does not contain the URL."""
    if (path := sqlite_path(url)) and path.name:
        return url
    if not url.startswith(POSTGRES_SCHEMES):
        scheme, separator, _ = url.partition("://")
        reason = f"{scheme} is not supported" if separator else "for the file x.db, write sqlite:///x.db"
        raise InvalidValue(
            f"must be sqlite:/// followed by the path of a file, or postgresql://user@host/database; {reason}"
        )
    # A '/', '?' or '#' in a password would end the masked part; a second '@' would start the host.
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        raise InvalidValue("is no valid URL: remove the bracket or special character from the host") from None
    rest = url.partition("://")[2][len(netloc) :]
    if "@" in rest or netloc.count("@") > 1 or not url.isprintable():
        raise InvalidValue("has a user name or password with a special character: write it percent-encoded, '/' as %2F")
    if not all(HOST_PATTERN.fullmatch(host) for host in netloc.rpartition("@")[2].split(",")):
        raise InvalidValue(
            "has a port that is not a number, or a password without a host: it is user:password@host:port"
        )
    return url


def mask_store_url(url: str) -> str:
    """Return the URL with its passwords masked, for output, logs and errors."""
    if url.startswith(SQLITE_SCHEME):
        return url
    scheme, _, rest = url.partition("://")
    netloc = urlsplit(url).netloc
    user, at, host = netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    masked = f"{name}{colon}{MASK if colon else ''}{at}{host}"
    return f"{scheme}://{masked}{SECRET_PARAMETER.sub(MASK, rest[len(netloc) :])}"


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite store; None for any other URL."""
    return Path(url.removeprefix(SQLITE_SCHEME)) if url.startswith(SQLITE_SCHEME) else None
