"""Who calls ThingSpace, and where it is."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from thingspace_provider.api.errors import CredentialsMissing
from thingspace_provider.common.urls import strip_userinfo

PRODUCTION_BASE_URL = "https://thingspace.verizon.com/api"


@dataclass(frozen=True)
class Credentials:
    """One ThingSpace user: an application key for tokens, and a UWS user for sessions.

    Args:
        app_key: key of the application, from the portal's Key Management.
        app_secret: its secret.
        username: UWS user name, not the portal login.
        password: its password.
        base_url: address up to and including `/api`.
    """

    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    username: str
    password: str = field(repr=False)
    base_url: str = PRODUCTION_BASE_URL

    def __post_init__(self) -> None:
        try:
            address = urlsplit(self.base_url)
            usable = address.scheme in {"http", "https"} and bool(address.hostname) and address.port != 0
        except ValueError:  # a bracket that is not closed, a port that is no number
            usable = False
        if not usable:
            raise CredentialsMissing(
                "calling ThingSpace",
                detail=f"the base URL {strip_userinfo(self.base_url)!r} is not an http(s) address",
                hint=f"Set THINGSPACE_BASE_URL or thingspace:baseUrl, for example {PRODUCTION_BASE_URL}.",
            )
        if address.scheme == "http" and not is_loopback(address.hostname or ""):
            raise CredentialsMissing(
                "calling ThingSpace",
                detail=f"the base URL {strip_userinfo(self.base_url)!r} would send the credentials unencrypted",
                hint="Use https; plain http is for an emulator on this machine only.",
            )
        for name in ("app_key", "app_secret", "username", "password", "base_url"):
            if not is_encodable(getattr(self, name)):  # an environment may hold any bytes
                raise CredentialsMissing(
                    "calling ThingSpace",
                    detail=f"the {name.replace('_', ' ')} is not text in UTF-8",
                    hint=f"Set THINGSPACE_{name.upper()}, or what else it is given by, anew.",
                )


def is_encodable(text: str) -> bool:
    """Whether it can be sent: half of a surrogate pair cannot, nor what was no UTF-8 when it was read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
