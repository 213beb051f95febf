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
from thingspace_provider.common.timeouts import run_with_timeout

CONNECT_SECONDS = 5.0
MAX_BODY_BYTES = 4 * 1024 * 1024  # bytes; the longest documented answer is a page of 100 texts
CHUNK_BYTES = 64 * 1024
MAX_POOLED_CONNECTIONS = 256  # kept open per address; with more threads than that, urllib3 warns at every call
GRACE_SECONDS = 0.2  # for the library's own time-out, which says more exactly what did not come


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP answer: status, headers (names in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TransportError(Exception):
    """The request got no usable answer; the text says why, in words.

    Args:
        text: why.
        sent: whether the other side may have taken the request; False when there was no connection.
        passing: whether it may be different in a moment.
    """

    def __init__(self, message: str, *, request_sent: bool = True, is_transient: bool = True) -> None:
        super().__init__(message)
        self.request_sent = request_sent
        self.is_transient = is_transient


class Transport(Protocol):
    """Sends one request. Safe for use by several threads."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Send it and read the whole answer within `seconds`, or raise TransportError."""


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
        self._session.auth = _no_auth
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=MAX_POOLED_CONNECTIONS))

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Send it and read the whole answer within `seconds`, or raise TransportError."""
        try:
            return run_with_timeout(
                lambda: self._send(method, url, headers, body, seconds), seconds + GRACE_SECONDS, "thingspace"
            )
        except FutureTimeoutError:
            raise TransportError(f"no whole answer within {seconds:.1f} s") from None

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
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
                return HttpResponse(
                    response.status_code,
                    {name.lower(): value for name, value in response.headers.items()},
                    _read_body(response),
                )
        except requests.RequestException as error:
            is_untrusted = isinstance(error, requests.exceptions.SSLError)
            request_sent = not is_untrusted and not _is_connect_error(error)
            raise TransportError(
                _describe(error, seconds), request_sent=request_sent, is_transient=not is_untrusted
            ) from error

    def close(self) -> None:
        """Let go of the open connections."""
        self._session.close()


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read_body(response: requests.Response) -> bytes:
    """The whole body, as long as it stays in bounds."""
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TransportError(f"the answer is longer than {MAX_BODY_BYTES // 1024} kB", is_transient=False)
    return bytes(body)


def _is_connect_error(error: requests.RequestException) -> bool:
    """Whether the request surely was not sent: there was no connection to send it on."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)  # a name that does not resolve is the former


def _describe(error: requests.RequestException, seconds: float) -> str:
    """Why there was no answer, without library names, addresses or anything that was sent."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the TLS connection was not trusted ({_describe_root_cause(error)})"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {min(CONNECT_SECONDS, seconds):.1f} s"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {seconds:.1f} s"
    if isinstance(error, requests.exceptions.ConnectionError):
        return _describe_root_cause(error)
    return type(error).__name__


def _describe_root_cause(error: BaseException) -> str:
    """The operating system's own words at the bottom of a chain of wrapped errors."""
    cause = root_cause(error)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(cause).__name__


def root_cause(error: BaseException) -> BaseException:
    """What a chain of wrapped errors began with."""
    current = error
    while True:
        inner = current.__cause__ or current.__context__ or getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in current.args if isinstance(part, BaseException)), None)
        if inner is None:
            return current
        current = inner
