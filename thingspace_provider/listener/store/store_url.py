"""The address of a store: which there are, how one is read, and how it is shown without its password."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from thingspace_provider.listener.settings.values import InvalidValue, parse_text

SQLITE = "sqlite:///"
POSTGRES = ("postgresql://", "postgres://")
SECRET_PARAMETER = re.compile(r"(?<=password=)[^&]*")  # password and sslpassword
MASK = "***"
HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]+)?")


def parse_store_url(value: object) -> str:
    """An address that is as far as can be seen without opening it. Raises Wrong, which does not repeat it."""
    address = parse_text(value)
    if (file := sqlite_path(address)) and file.name:
        return address
    if not address.startswith(POSTGRES):
        scheme = address.partition(":")[0] if "://" in address else "nothing"
        raise InvalidValue(
            "must be sqlite:/// followed by the path of a file, or postgresql://user@host/database; "
            f"{scheme} is not supported"
        )
    # A slash, '?' or '#' in a password would end the part that is masked, a second '@' would begin the host.
    try:
        netloc = urlsplit(address).netloc
    except ValueError:
        raise InvalidValue("is no address: a bracket or a character does not belong there") from None
    rest = address.partition("://")[2][len(netloc) :]
    if "@" in rest or netloc.count("@") > 1 or not address.isprintable():
        raise InvalidValue("has a user name or password with a special character: write it percent-encoded, '/' as %2F")
    if not all(HOST.fullmatch(host) for host in netloc.rpartition("@")[2].split(",")):
        raise InvalidValue(
            "has a port that is not a number, or a password without a host: it is user:password@host:port"
        )
    return address


def mask_store_url(address: str) -> str:
    """For people, logs and errors."""
    if address.startswith(SQLITE):
        return address
    scheme, _, rest = address.partition("://")
    netloc = urlsplit(address).netloc
    user, at, host = netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    masked = f"{name}{colon}{MASK if colon else ''}{at}{host}"
    return f"{scheme}://{masked}{SECRET_PARAMETER.sub(MASK, rest[len(netloc) :])}"


def sqlite_path(address: str) -> Path | None:
    """The file of a SQLite store."""
    return Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None
