"""Credentials of one ThingSpace user, and the base URL that they are sent to."""

from __future__ import annotations

from dataclasses import dataclass, field

from thingspace_provider.api.errors import InvalidSetting
from thingspace_provider.common.urls import InvalidUrl, is_loopback, parse_http_url, strip_userinfo

PRODUCTION_BASE_URL = "https://thingspace.verizon.com/api"


@dataclass(frozen=True)
class Credentials:
    """One ThingSpace user: an application key for access tokens, and a UWS user for sessions.

    Raises InvalidSetting when a value cannot be used.

    Args:
        app_key: application key, from Key Management in the ThingSpace portal.
        app_secret: application secret.
        username: UWS user name; not the portal login.
        password: UWS password.
        base_url: URL up to and including `/api`.
    """

    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    username: str
    password: str = field(repr=False)
    base_url: str = PRODUCTION_BASE_URL

    def __post_init__(self) -> None:
        for name in ("app_key", "app_secret", "username", "password", "base_url"):
            if not is_encodable(getattr(self, name)):  # an environment variable can hold any bytes
                raise InvalidSetting(
                    "reading the credentials",
                    detail=f"the {name.replace('_', ' ')} is not valid UTF-8",
                    hint=f"Set THINGSPACE_{name.upper()}, or its stack configuration, to UTF-8 text.",
                )
        masked_url = strip_userinfo(self.base_url)
        try:
            parts = parse_http_url(self.base_url, allow_userinfo=True)
        except InvalidUrl as error:
            raise InvalidSetting(
                "reading the credentials",
                detail=f"the base URL {masked_url!r} is not usable: {error}",
                hint=f"Set THINGSPACE_BASE_URL or thingspace:baseUrl, for example {PRODUCTION_BASE_URL}.",
            ) from None
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise InvalidSetting(
                "reading the credentials",
                detail=f"the base URL {masked_url!r} would send the credentials unencrypted",
                hint="Use https. Plain http is only for an emulator on this machine.",
            )


def is_encodable(text: str) -> bool:
    """Return whether text can be sent as UTF-8: a lone surrogate, or a byte that was not UTF-8 when read, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
