"""An HTTP receiver: each event is one POST in CloudEvents' structured mode, signed as Standard Webhooks asks.

| it answers | it means |
|---|---|
| 2xx | delivered |
| 400, 406, 409, 410, 411, 413, 414, 415, 422, 431 | it will never take this event: a dead letter |
| 3xx, 401, 403, 404, 405, 407, 429, 502, 503, 504, or is not there | it takes nothing now: an outage, or settings |
| anything else, or nothing in time | not now, perhaps because of this event |

The last two are tried again, after `Retry-After` if that is later. An answer's body is not read.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Sequence

import aiohttp

from thingspace_provider.common.http_headers import parse_retry_after
from thingspace_provider.listener.forwarding.cloudevents import CONTENT_TYPE, CloudEvent
from thingspace_provider.listener.forwarding.settings import SECRET_PREFIX, HttpSettings
from thingspace_provider.listener.forwarding.sinks.base import DeliveryError, MessageRejected, SinkUnavailable

CONNECT_TIMEOUT_SECONDS = 5
KEEP_ALIVE_SECONDS = 4.0  # for an unused connection: shorter than the 5 s after which many servers close theirs
MAX_RETRY_AFTER_SECONDS = 3600.0  # seconds that a Retry-After is believed
SUCCESS_STATUSES = range(200, 300)
PERMANENT_STATUSES = frozenset({400, 406, 409, 410, 411, 413, 414, 415, 422, 431})
UNAVAILABLE_STATUSES = frozenset({*range(300, 400), 401, 403, 404, 405, 407, 429, 502, 503, 504})


class HttpSink:
    """Posts to one URL. Redirects are not followed: a signed text goes where the settings say, or nowhere."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        timeout = aiohttp.ClientTimeout(total=settings.timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def deliver(self, event: CloudEvent) -> None:
        """Post it. Raises Undelivered or Unacceptable."""
        headers = {"content-type": CONTENT_TYPE, **sign_event(self._settings.signing_secrets, event, int(time.time()))}
        try:
            async with self._session.post(
                self._settings.url, data=event.body, headers=headers, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("retry-after", "")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SinkUnavailable(_explain_connect_error(error)) from None
        except asyncio.TimeoutError:
            raise DeliveryError(f"no answer within {self._settings.timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise DeliveryError(f"the connection to the receiver broke ({type(error).__name__})") from None
        if status in PERMANENT_STATUSES:
            raise MessageRejected(f"the receiver answered {status}")
        if status not in SUCCESS_STATUSES:
            error_type = SinkUnavailable if status in UNAVAILABLE_STATUSES else DeliveryError
            raise error_type(
                f"the receiver answered {status}",
                min(parse_retry_after(retry_after, time.time()), MAX_RETRY_AFTER_SECONDS),
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def sign_event(secrets: Sequence[str], event: CloudEvent, now: int) -> dict[str, str]:
    """Standard Webhooks' headers: one signature for each secret, so that either side may rotate first."""
    signed_content = f"{event.id}.{now}.".encode() + event.body
    keys = [base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets]
    signatures = [base64.b64encode(hmac.new(key, signed_content, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _explain_connect_error(error: Exception) -> str:
    """Why there is no connection, in words that cannot hold the URL: its path or query may be a secret."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the receiver's certificate is not trusted, or it speaks no TLS"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the receiver's name cannot be resolved"
    return "no connection to the receiver"
