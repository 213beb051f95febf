"""HTTP transport for calls to ThingSpace and for readiness probes, and single calls within the rate limit."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from thingspace_provider.api import error_responses, errors
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.api.rate_limiter import RateLimiter
from thingspace_provider.common.http_headers import parse_retry_after
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.common.timeouts import run_with_timeout
from thingspace_provider.common.urls import is_loopback, strip_userinfo, url_secrets

CONNECT_TIMEOUT_SECONDS = 5.0
MAX_BODY_BYTES = 4 * 1024 * 1024  # the longest documented response is a history page of 100 messages
MAX_RETRY_AFTER_SECONDS = 24 * 3600.0  # a longer one is a wrong clock
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
        # Never use a proxy for loopback addresses. With the key no_proxy instead, requests would change os.environ for
        # a moment, which another thread may be reading.
        proxies = dict.fromkeys(("http", "https", "all"), "") if is_loopback(urlsplit(url).hostname or "") else None
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


@dataclass(frozen=True)
class Call:
    """One call of an API operation.

    Args:
        operation: ThingSpace's name, for example `startCallbacks`.
        action: the same as a gerund, for messages.
        method: HTTP method.
        path: path below the base URL.
        account: the account that it concerns, if any.
        body: request body.
        secrets: secrets in path or body, which no error may show.
    """

    operation: str
    action: str
    method: str
    path: str
    account: str | None = None
    body: bytes | None = field(default=None, repr=False)
    secrets: tuple[object, ...] = field(default=(), repr=False)


class ApiRequester:
    """Sends calls to one ThingSpace. Safe for use by several threads."""

    def __init__(self, credentials: Credentials, transport: Transport, rate_limiter: RateLimiter) -> None:
        self._base_url = credentials.base_url
        key_pair = f"{credentials.app_key}:{credentials.app_secret}"
        self._secrets = (
            *(credentials.app_key, credentials.app_secret, credentials.password),
            base64.b64encode(key_pair.encode()).decode(),
            *url_secrets(credentials.base_url),
        )
        self._transport = transport
        self._rate_limiter = rate_limiter

    def send(self, deadline: Deadline, call: Call, headers: Mapping[str, str]) -> HttpResponse:
        """Send a call once and return its response, of any status. Raises NoResponse or DeadlineExceeded."""
        self._wait_for_rate_limit(deadline, call)
        timeout_seconds = deadline.response_timeout(call.action, call.account)
        url = self._base_url.rstrip("/") + call.path
        try:
            with deadline.log_if_slow(call.action, call.account, "the response of ThingSpace"):
                response = self._transport.send(call.method, url, headers, call.body, timeout_seconds)
        except TransportError as error:
            raise self._no_response(call, error) from None
        if response.status == error_responses.RATE_LIMITED:
            self._rate_limiter.pause(_retry_after_seconds(response))
        return response

    def error_from_response(
        self, call: Call, response: HttpResponse, secrets: Iterable[object] = ()
    ) -> errors.ErrorResponse:
        """Build the error for an error response. Redacts the credentials, the secrets of the call, and `secrets`."""
        redactor = Redactor((*self._secrets, *call.secrets, *secrets))
        return error_responses.error_from_response(
            call.operation,
            call.action,
            call.account,
            response.status,
            response.body,
            _retry_after_seconds(response),
            redactor,
        )

    def _wait_for_rate_limit(self, deadline: Deadline, call: Call) -> None:
        """Wait for the rate limiter. Raises DeadlineExceeded at once if the wait ends after the deadline."""
        delay = self._rate_limiter.reserve(deadline.remaining_seconds())
        paused_seconds = self._rate_limiter.pause_remaining()
        if paused_seconds > delay / 2:
            reason = f"ThingSpace requested a pause (Retry-After), {paused_seconds:.0f} s are left"
            hint = "Run it again after the pause: completed steps are kept, and the remaining ones follow."
        else:
            reason = f"the rate limit is {self._rate_limiter.calls_per_second:g} calls per second"
            hint = (
                "Run it again: completed steps are kept, and the remaining ones follow. Set "
                "THINGSPACE_CALLS_PER_SECOND to allow more calls, or THINGSPACE_RESOURCE_TIMEOUT_SECONDS to allow "
                "more time for one resource operation."
            )
        deadline.sleep(delay, call.action, call.account, reason, hint)

    def _no_response(self, call: Call, error: TransportError) -> errors.NoResponse:
        return errors.NoResponse(
            call.action,
            call.account,
            f"no response from {strip_userinfo(self._base_url)} ({error})",
            "Check the network and THINGSPACE_BASE_URL (stack config thingspace:baseUrl), then run it again: "
            "completed steps are kept, and the remaining ones follow.",
            error.request_sent,
            error.is_transient,
        )


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


def _retry_after_seconds(response: HttpResponse) -> float:
    seconds = parse_retry_after(response.headers.get("retry-after", ""), time.time())
    return min(seconds, MAX_RETRY_AFTER_SECONDS)
