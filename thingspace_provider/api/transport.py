"""HTTP transport for calls to ThingSpace and for readiness probes."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from thingspace_provider.common.timeouts import run_with_timeout
from thingspace_provider.common.urls import is_loopback

CONNECT_TIMEOUT_SECONDS = 5.0
MAX_BODY_BYTES = 4 * 1024 * 1024  # the longest documented response is a history page of 100 messages
CHUNK_BYTES = 64 * 1024
MAX_POOLED_CONNECTIONS = 256  # per address; with more threads than this, urllib3 warns at every call
TIMEOUT_MARGIN_SECONDS = 0.2  # lets requests time out first, because its error names the step


@dataclass(frozen=True)
class HttpResponse:
    """HTTP response: status, headers with lower-case names, and the complete body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TransportError(Exception):
    """A request got no usable response.

    Args:
        message: the reason, without URLs or anything that was sent.
        request_sent: whether the server may have received the request; False without a connection.
        is_transient: whether another attempt can succeed.
    """

    def __init__(self, message: str, *, request_sent: bool = True, is_transient: bool = True) -> None:
        super().__init__(message)
        self.request_sent = request_sent
        self.is_transient = is_transient


class Transport(Protocol):
    """Sends one request at a time. Safe for use by several threads."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Send a request and read its whole response within `seconds`. Raises TransportError."""


class RequestsTransport:
    """Transport that reuses connections, follows no redirect, stores no cookie and reads no `.netrc`.

    Args:
        ca_bundle: PEM file of the only trusted CAs; None trusts the CAs that the environment configures.
        connect_timeout_seconds: for DNS, connection and TLS.
        max_body_bytes: longest accepted response body.
    """

    def __init__(
        self,
        ca_bundle: str | None = None,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._ca_bundle = ca_bundle
        self._connect_timeout_seconds = connect_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._session = _Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Without an auth of its own, requests replaces the Authorization header by a login from ~/.netrc.
        self._session.auth = _no_auth
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=MAX_POOLED_CONNECTIONS))

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Send a request and read its whole response within `seconds`. Raises TransportError."""
        try:
            return run_with_timeout(
                lambda: self._send(method, url, headers, body, seconds),
                seconds + TIMEOUT_MARGIN_SECONDS,
                "thingspace",
            )
        except FutureTimeoutError:
            raise TransportError(f"no complete response within {seconds:.1f} s") from None

    def close(self) -> None:
        """Close the open connections."""
        self._session.close()

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        # Never use a proxy for loopback addresses.
        proxies = {"no_proxy": "*"} if is_loopback(urlsplit(url).hostname or "") else None
        connect_timeout_seconds = min(self._connect_timeout_seconds, seconds)
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=(connect_timeout_seconds, seconds),
                allow_redirects=False,
                proxies=proxies,
                verify=self._ca_bundle,
                stream=True,
            ) as response:
                return HttpResponse(
                    response.status_code,
                    {name.lower(): value for name, value in response.headers.items()},
                    self._read_body(response),
                )
        except requests.RequestException as error:
            is_tls_error = isinstance(error, requests.exceptions.SSLError)
            raise TransportError(
                _describe(error, connect_timeout_seconds, seconds),
                request_sent=not is_tls_error and not _is_connect_error(error),
                is_transient=not is_tls_error,
            ) from error
        except (ValueError, HTTPException, HTTPError) as error:  # of anything else that a server can send
            raise TransportError(f"the response is malformed ({type(error).__name__})", is_transient=False) from error

    def _read_body(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_body_bytes:
                raise TransportError(
                    f"the response is longer than {self._max_body_bytes // 1024} KiB", is_transient=False
                )
        return bytes(body)


class _Session(requests.Session):
    """Session that never reads a Location header, because this transport follows no redirect."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target. Without this, a header that is not UTF-8 would raise and leak the connection."""
        del resp


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _is_connect_error(error: requests.RequestException) -> bool:
    """Return whether the request was certainly not sent, because there was no connection."""
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)  # NewConnectionError includes DNS errors


def _describe(error: requests.RequestException, connect_timeout_seconds: float, seconds: float) -> str:
    """Describe a failure without class names of libraries, addresses or request data."""
    if isinstance(error, requests.exceptions.SSLError):
        return f"the TLS connection is not trusted ({_describe_root_cause(error)})"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {connect_timeout_seconds:.1f} s"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no response within {seconds:.1f} s"
    if isinstance(error, requests.exceptions.ConnectionError):
        return _describe_root_cause(error)
    return type(error).__name__


def _describe_root_cause(error: BaseException) -> str:
    """Return the operating system's message for a chain of wrapped errors, or the class of the first one."""
    cause = root_cause(error)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(cause).__name__


def root_cause(error: BaseException) -> BaseException:
    """Return the error at the beginning of a chain of wrapped errors."""
    current = error
    while True:
        inner = current.__cause__ or current.__context__ or getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((argument for argument in current.args if isinstance(argument, BaseException)), None)
        if inner is None:
            return current
        current = inner
