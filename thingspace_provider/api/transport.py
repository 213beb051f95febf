"""The one place where bytes leave for ThingSpace or a listener."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from thingspace_provider.api.credentials import is_loopback
from thingspace_provider.common.timeouts import in_time

CONNECT_SECONDS = 5.0
LARGEST_BODY = 4 * 1024 * 1024  # bytes; the longest documented answer is a page of 100 texts
CHUNK = 64 * 1024
CONNECTIONS = 256  # kept open per address; with more threads than that, urllib3 warns at every call
GRACE_SECONDS = 0.2  # for the library's own time-out, which says more exactly what did not come


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, headers (names in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """The request got no usable answer; the text says why, in words.

    Args:
        text: why.
        sent: whether the other side may have taken the request; False when there was no connection.
        passing: whether it may be different in a moment.
    """

    def __init__(self, text: str, *, sent: bool = True, passing: bool = True) -> None:
        super().__init__(text)
        self.sent = sent
        self.passing = passing


class Transport(Protocol):
    """Sends one request. Safe for use by several threads."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Answer:
        """Send it and read the whole answer within `seconds`, or raise NoAnswer."""


class RequestsTransport:
    """Keeps connections open between calls and threads; follows no redirect, keeps no cookie, reads no .netrc.

    Args:
        ca_bundle: PEM file of the only CAs to trust; None trusts those that the environment says.
    """

    def __init__(self, ca_bundle: str | None = None) -> None:
        self._ca_bundle = ca_bundle
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Without an auth of its own, requests would put a login from ~/.netrc in place of our bearer.
        self._session.auth = _as_is
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Answer:
        """Send it and read the whole answer within `seconds`, or raise NoAnswer."""
        try:
            return in_time(
                lambda: self._send(method, url, headers, body, seconds), seconds + GRACE_SECONDS, "thingspace"
            )
        except FutureTimeoutError:
            raise NoAnswer(f"no whole answer within {seconds:.1f} s") from None

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Answer:
        # No proxy stands between this machine and itself.
        proxies = {"no_proxy": "*"} if is_loopback(urlsplit(url).hostname or "") else None
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(min(CONNECT_SECONDS, seconds), seconds),
                allow_redirects=False,
                proxies=proxies,
                verify=self._ca_bundle,
                stream=True,
            ) as response:
                return Answer(
                    response.status_code,
                    {name.lower(): value for name, value in response.headers.items()},
                    _read(response),
                )
        except requests.RequestException as error:
            untrusted = isinstance(error, requests.exceptions.SSLError)
            sent = not untrusted and not _never_connected(error)
            raise NoAnswer(_in_words(error, seconds), sent=sent, passing=not untrusted) from error

    def close(self) -> None:
        """Let go of the open connections."""
        self._session.close()


def _as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(response: requests.Response) -> bytes:
    """The whole body, as long as it stays in bounds."""
    body = bytearray()
    for chunk in response.iter_content(CHUNK):
        body += chunk
        if len(body) > LARGEST_BODY:
            raise NoAnswer(f"the answer is longer than {LARGEST_BODY // 1024} kB", passing=False)
    return bytes(body)


def _never_connected(error: requests.RequestException) -> bool:
    """Whether the request surely was not sent: there was no connection to send it on."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)  # a name that does not resolve is the former


def _in_words(error: requests.RequestException, seconds: float) -> str:
    """Why there was no answer, without library names, addresses or anything that was sent."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the TLS connection was not trusted ({_innermost(error)})"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {min(CONNECT_SECONDS, seconds):.1f} s"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {seconds:.1f} s"
    if isinstance(error, requests.exceptions.ConnectionError):
        return _innermost(error)
    return type(error).__name__


def _innermost(error: BaseException) -> str:
    """The operating system's own words at the bottom of a chain of wrapped errors."""
    seen = innermost(error)
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror.lower()
    return type(seen).__name__


def innermost(error: BaseException) -> BaseException:
    """What a chain of wrapped errors began with."""
    seen = error
    while True:
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in seen.args if isinstance(part, BaseException)), None)
        if inner is None:
            return seen
        seen = inner
