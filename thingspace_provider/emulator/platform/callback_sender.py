"""Callback sender: posts callbacks to listeners with ThingSpace's retry profile. Never follows a redirect."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import aiohttp
from pydantic import AfterValidator
from yarl import URL

from thingspace_provider.emulator.platform.callback_bodies import encode_body
from thingspace_provider.emulator.platform.faults import DELIVERY, Faults
from thingspace_provider.emulator.platform.journal import Journal, mask_url
from thingspace_provider.emulator.platform.state import Registration
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import VirtualClock, format_time

USER_AGENT = "Verizon's callback service"
SOURCE_ADDRESSES = (
    "3.87.163.45",
    "3.91.119.203",
    "54.197.62.209",
    "35.165.205.14",
    "54.200.43.232",
    "34.216.81.234",
    "137.117.33.109",
    "168.62.173.153",
)
MAX_RESPONSE_BYTES = 64 * 1024
"""Size of a listener's response after which the connection is closed; only the status counts."""


def _check_address(target: str) -> str:
    """Return `address:port`. Raises ValueError."""
    address, _, port = target.rpartition(":")
    try:
        ipaddress.ip_address(address)
        is_valid = 0 < int(port) < 65536  # noqa: PLR2004 - the range of ports
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(f"{target!r} is not an address and a port such as 127.0.0.1:8443")
    return target


Addresses = dict[str, Annotated[str, AfterValidator(_check_address)]]
"""`host` or `host:port` of listeners -> `address:port` in its place."""


@dataclass(frozen=True, slots=True)
class RetryProfile:
    """Retry profile. After `hedge_delay_seconds` the next attempt starts while this one still runs."""

    max_attempts: int
    backoff_seconds: float
    hedge_delay_seconds: float | None
    timeout_seconds: float


RETRY_PROFILES = {
    "observed": RetryProfile(max_attempts=2, backoff_seconds=1.3, hedge_delay_seconds=4.0, timeout_seconds=30.0),
    "documented": RetryProfile(max_attempts=4, backoff_seconds=300.0, hedge_delay_seconds=None, timeout_seconds=30.0),
}


@dataclass(frozen=True, slots=True)
class OutgoingCallback:
    """Callback to a listener. Each attempt calls `find_registration`, because a registration can change."""

    account: str
    service: str
    trigger: str
    number: int
    body: dict[str, Any]
    find_registration: Callable[[], Registration | None]


class InvalidCertificateAuthority(ValueError):
    """A file without a certificate authority in PEM."""


class CallbackSender:
    """Delivers callbacks, with retries, faults and journal entries."""

    def __init__(
        self, clock: VirtualClock, switches: Switches, faults: Faults, journal: Journal, ca_file: str | None
    ) -> None:
        self._clock, self._switches, self._faults, self._journal = clock, switches, faults, journal
        self._session: aiohttp.ClientSession | None = None
        self._ca_file = ca_file
        self._ssl_context: ssl.SSLContext | None = None
        self.resolve: dict[str, str] = {}
        self._attempts = 0

    async def deliver(self, callback: OutgoingCallback) -> bool:
        """Deliver a callback. Returns whether an attempt got a 2xx response."""
        profile = RETRY_PROFILES[self._switches["retryProfile"]]
        fault = self._faults.match(DELIVERY, {"accountName": callback.account, "serviceName": callback.service})
        rule = fault.rule if fault else None
        if rule is not None and rule.delay_seconds:
            await self._clock.sleep(rule.delay_seconds)
        if rule is not None and rule.drop == "before":
            return False
        copies = (rule.duplicate or 0) if rule is not None else 0
        running: list[asyncio.Future[bool]] = [
            asyncio.ensure_future(self._attempt(callback, 1, profile)) for _ in range(copies)
        ]
        try:
            for number in range(1, profile.max_attempts + 1):
                if callback.find_registration() is None:
                    break
                current = asyncio.ensure_future(self._attempt(callback, number, profile))
                running.append(current)
                finished = await self._clock.wait(current, profile.hedge_delay_seconds or profile.timeout_seconds * 2)
                if finished and current.result():
                    break
                if finished and number < profile.max_attempts:
                    await self._clock.sleep(profile.backoff_seconds)
            results = await asyncio.gather(*running)
        finally:
            for attempt in running:
                attempt.cancel()
        return any(results) and not (rule is not None and rule.drop == "after")

    async def close(self) -> None:
        """Close every connection to a listener."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(self, callback: OutgoingCallback, number: int, profile: RetryProfile) -> bool:
        registration = callback.find_registration()
        if registration is None:
            return False
        password = self._select_password(registration)
        body = encode_body(
            callback.body, registration.username or "", password, number, profile.max_attempts, self._switches
        )
        started = self._clock.now()
        post = asyncio.ensure_future(self._post(registration.url, body))
        try:
            finished = await self._clock.wait(post, profile.timeout_seconds)
            outcome, status = post.result() if finished else ("timeout", None)
        finally:
            post.cancel()
        self._journal.record_delivery(
            {
                "at": format_time(started),
                "seconds": round(self._clock.now() - started, 4),
                "accountName": callback.account,
                "serviceName": callback.service,
                "trigger": callback.trigger,
                "number": callback.number,
                "url": mask_url(registration.url),
                "attempt": number,
                "outcome": outcome,
                "status": status,
                "password": "old" if password and password != registration.password else "current",
                "smsMessage": callback.body.get("smsMessage"),
                "requestId": callback.body.get("requestId"),
            }
        )
        return outcome == "delivered"

    def _select_password(self, registration: Registration) -> str:
        """Select the registered password, or every other time the previous one while both are in use."""
        alternating = self._switches["passwordAfterReregistration"] == "alternating"
        if (
            alternating
            and registration.previous_password is not None
            and self._clock.now() < registration.password_overlap_until
        ):
            registration.sent += 1
            if registration.sent % 2:
                return registration.previous_password
        return registration.password or ""

    async def _post(self, url: str, body: bytes) -> tuple[str, int | None]:
        with self._clock.track_io():
            headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
            if self._switches["sourceAddress"] == "published":
                self._attempts += 1
                headers["X-Forwarded-For"] = SOURCE_ADDRESSES[self._attempts % len(SOURCE_ADDRESSES)]
            try:
                async with self._connection().post(
                    URL(url, encoded=url.isascii()),
                    data=body,
                    headers=headers,
                    ssl=self._tls_context(),
                    allow_redirects=False,
                ) as response:
                    await response.content.read(MAX_RESPONSE_BYTES)
                    if not response.content.at_eof():
                        response.close()
                    accepted = 200 <= response.status < 300  # noqa: PLR2004 - the range of HTTP success
                    return ("delivered" if accepted else "rejected"), response.status
            except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
                return "untrusted", None
            except (aiohttp.ClientError, OSError, ValueError):
                return "unreachable", None

    def _tls_context(self) -> ssl.SSLContext | bool:
        """Return the TLS context for listeners, or `False` for no verification."""
        if self._switches["tlsVerification"] == "skip":
            return False
        if self._ssl_context is None:
            self._ssl_context = load_ca(self._ca_file)
        return self._ssl_context

    def _connection(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2, resolver=_Resolver(self.resolve))
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding"),
            )
        return self._session


def load_ca(ca_file: str | None) -> ssl.SSLContext:
    """Create a TLS context with the system's authorities and those of a file. Raises InvalidCertificateAuthority."""
    context = ssl.create_default_context()
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise InvalidCertificateAuthority(
            f"{ca_file} holds no certificate in PEM: {error.strerror or error}"
        ) from error
    return context


class _Resolver(aiohttp.abc.AbstractResolver):
    """The system's resolver, with overrides for listeners."""

    def __init__(self, overrides: dict[str, str]) -> None:
        self._overrides = overrides
        self._system = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[aiohttp.abc.ResolveResult]:
        target = self._overrides.get(f"{host}:{port}") or self._overrides.get(host)
        if target is None:
            return await self._system.resolve(host, port, family)
        address, _, other_port = target.rpartition(":")
        version = ipaddress.ip_address(address).version
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=int(other_port),
                family=2 if version == 4 else 10,  # noqa: PLR2004 - IPv4
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        await self._system.close()
