"""HTTP sink: each event is one POST in CloudEvents' structured mode, signed by Standard Webhooks.

| Response | Outcome |
|---|---|
| 2xx | delivered |
| one of `PERMANENT_STATUSES` | `MessageRejected` |
| one of `UNAVAILABLE_STATUSES`, no connection | `SinkUnavailable` |
| any other, a timeout | `DeliveryError`; the event can be its cause |

The body of a response is not read.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from thingspace_provider.common.http_headers import parse_retry_after
from thingspace_provider.common.urls import InvalidUrl, is_loopback, parse_http_url
from thingspace_provider.listener.forwarding.cloudevents import CONTENT_TYPE, CloudEvent
from thingspace_provider.listener.forwarding.settings import SECRET_PREFIX, HttpSettings
from thingspace_provider.listener.forwarding.sinks.base import (
    DeliveryError,
    InvalidSink,
    MessageRejected,
    SinkUnavailable,
)

CONNECT_TIMEOUT_SECONDS = 5
KEEP_ALIVE_SECONDS = 4.0  # many servers close an idle connection after 5 s
MAX_RETRY_AFTER_SECONDS = 3600.0
SUCCESS_STATUSES = range(200, 300)
PERMANENT_STATUSES = frozenset({400, 406, 409, 410, 411, 413, 414, 415, 422, 431})
UNAVAILABLE_STATUSES = frozenset({*range(300, 400), 401, 403, 404, 405, 407, 429, 502, 503, 504})


class HttpSink:
    """Posts to one URL, byte for byte as configured. Redirects are not followed. Raises InvalidSink."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._url = URL(settings.url, encoded=True)
        self._proxy = _find_proxy(settings)
        timeout = aiohttp.ClientTimeout(total=settings.timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self.session = aiohttp.ClientSession(
            timeout=timeout, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def deliver(self, event: CloudEvent) -> None:
        """Post the event. Raises DeliveryError or MessageRejected."""
        signature = sign_event(self._settings.signing_secrets, event, int(time.time()))
        headers = {**dict(event.headers), "content-type": CONTENT_TYPE, **signature}
        try:
            async with self.session.post(
                self._url, data=event.body, headers=headers, allow_redirects=False, proxy=self._proxy
            ) as response:
                status, retry_after = response.status, response.headers.get("retry-after", "")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise SinkUnavailable(_explain_connect_error(error, "proxy" if self._proxy else "receiver")) from None
        except aiohttp.ClientHttpProxyError as error:
            raise SinkUnavailable(f"the proxy responded with {error.status}") from None
        except asyncio.TimeoutError:
            raise DeliveryError(f"no response within {self._settings.timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise DeliveryError(f"the connection to the receiver broke ({type(error).__name__})") from None
        if status in PERMANENT_STATUSES:
            raise MessageRejected(f"the receiver responded with {status}")
        if status not in SUCCESS_STATUSES:
            error_type = SinkUnavailable if status in UNAVAILABLE_STATUSES else DeliveryError
            raise error_type(
                f"the receiver responded with {status}",
                min(parse_retry_after(retry_after, time.time()), MAX_RETRY_AFTER_SECONDS),
            )

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()


def sign_event(secrets: Sequence[str], event: CloudEvent, now: int) -> dict[str, str]:
    """Return the headers of Standard Webhooks, with one signature for each secret.

    Args:
        secrets: one secret, or two during a rotation.
        event: the event.
        now: seconds since the epoch.
    """
    signed_content = f"{event.id}.{now}.".encode() + event.body
    keys = [base64.b64decode(secret.removeprefix(SECRET_PREFIX)) for secret in secrets]
    signatures = [base64.b64encode(hmac.new(key, signed_content, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": event.id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _find_proxy(settings: HttpSettings) -> str | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY select. Raises InvalidSink.

    aiohttp's `trust_env` would also send passwords of ~/.netrc.
    """
    parts = urlsplit(settings.url)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if not proxy or is_loopback(host) or proxy_bypass(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parse_http_url(proxy, allow_userinfo=True)
    except InvalidUrl as error:
        raise InvalidSink(f"sink {settings.name}: {parts.scheme.upper()}_PROXY is not an HTTP proxy: {error}") from None
    return proxy


def _explain_connect_error(error: Exception, peer: str) -> str:
    """Return the cause without the URL, which can hold a secret. The peer is the receiver or its proxy."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return "the receiver's certificate is not trusted, or it does not use TLS"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name of the {peer} cannot be resolved"
    return f"no connection to the {peer}"
