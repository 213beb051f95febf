"""Sends single requests to ThingSpace, within the rate limit and the deadline of a resource operation."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from thingspace_provider.api import error_responses, errors
from thingspace_provider.api.credentials import Credentials
from thingspace_provider.api.deadline import Deadline
from thingspace_provider.api.rate_limiter import RateLimiter
from thingspace_provider.api.transport import HttpResponse, Transport, TransportError
from thingspace_provider.common.http_headers import parse_retry_after
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.common.urls import strip_userinfo, url_secrets

MAX_RETRY_AFTER_SECONDS = 24 * 3600.0  # a longer one is a wrong clock


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


def _retry_after_seconds(response: HttpResponse) -> float:
    seconds = parse_retry_after(response.headers.get("retry-after", ""), time.time())
    return min(seconds, MAX_RETRY_AFTER_SECONDS)
