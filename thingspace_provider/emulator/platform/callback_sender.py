"""Posting to listeners the way ThingSpace does it: impatient, again when refused, never following a redirect."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from thingspace_provider.emulator.platform.callback_bodies import render
from thingspace_provider.emulator.platform.faults import DELIVERY, Faults
from thingspace_provider.emulator.platform.journal import Journal, masked
from thingspace_provider.emulator.platform.state import Registration
from thingspace_provider.emulator.platform.switches import Switches
from thingspace_provider.emulator.platform.virtual_clock import Clock

AGENT = "Verizon's callback service"
ADDRESSES = (
    "3.87.163.45",
    "3.91.119.203",
    "54.197.62.209",
    "35.165.205.14",
    "54.200.43.232",
    "34.216.81.234",
    "137.117.33.109",
    "168.62.173.153",
)
READ_BYTES = 64 * 1024
"""How much of a listener's answer is read; the rest is of no interest to anybody."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to retry, in virtual seconds: `silence` starts the next attempt while this one still runs."""

    attempts: int
    pause: float
    silence: float | None
    abandon: float


PROFILES = {
    "observed": Profile(attempts=2, pause=1.3, silence=4.0, abandon=30.0),
    "documented": Profile(attempts=4, pause=300.0, silence=None, abandon=30.0),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell a listener; `listener` looks it up anew for each attempt, because it may change meanwhile."""

    account: str
    service: str
    trigger: str
    number: int
    body: dict[str, Any]
    listener: Callable[[], Registration | None]


class BadAddress(ValueError):
    """An address that a listener's name cannot stand for."""


class BadAuthority(ValueError):
    """A file that holds no authority for certificates."""


class Sender:
    """Delivers notices; `True` means that some attempt got a 2xx."""

    def __init__(self, clock: Clock, switches: Switches, faults: Faults, journal: Journal, ca: str | None) -> None:
        self._clock, self._switches, self._faults, self._journal = clock, switches, faults, journal
        self._session: aiohttp.ClientSession | None = None
        self._ca = ca
        self._trust: ssl.SSLContext | None = None
        self.resolve: dict[str, str] = {}
        self._attempts = 0

    async def deliver(self, notice: Notice) -> bool:
        """Try a notice as often as the profile says."""
        profile = PROFILES[self._switches["retryProfile"]]
        fault = self._faults.take(DELIVERY, {"accountName": notice.account, "serviceName": notice.service})
        if fault is not None and fault.delay:
            await self._clock.sleep(fault.delay)
        if fault is not None and fault.drop == "before":
            return False
        twins = [
            asyncio.ensure_future(self._attempt(notice, 1, profile)) for _ in range(fault.duplicate if fault else 0)
        ]
        running: list[asyncio.Future[bool]] = [*twins]
        try:
            for number in range(1, profile.attempts + 1):
                if notice.listener() is None:
                    break
                current = asyncio.ensure_future(self._attempt(notice, number, profile))
                running.append(current)
                over = await self._clock.wait(current, profile.silence or profile.abandon * 2)
                if over and current.result():
                    break
                if over and number < profile.attempts:
                    await self._clock.sleep(profile.pause)
            results = await asyncio.gather(*running)
        finally:
            for attempt in running:
                attempt.cancel()
        return any(results) and not (fault is not None and fault.drop == "after")

    def resolve_as(self, overrides: Any) -> None:
        """Let addresses of this machine stand for listeners' names. Raises BadAddress."""
        check_addresses(overrides)
        self.resolve.clear()
        self.resolve.update(overrides)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(self, notice: Notice, number: int, profile: Profile) -> bool:
        listener = notice.listener()
        if listener is None:
            return False
        password = self._password(listener)
        body = render(notice.body, listener.username or "", password, number, profile.attempts, self._switches)
        started = self._clock.now()
        post = asyncio.ensure_future(self._post(listener.url, body))
        try:
            over = await self._clock.wait(post, profile.abandon)
            outcome, status = post.result() if over else ("silent", None)
        finally:
            post.cancel()
        self._journal.delivery(
            {
                "at": round(started, 3),
                "seconds": round(self._clock.now() - started, 4),
                "accountName": notice.account,
                "serviceName": notice.service,
                "trigger": notice.trigger,
                "number": notice.number,
                "url": masked(listener.url),
                "attempt": number,
                "outcome": outcome,
                "status": status,
                "password": "old" if password and password != listener.password else "current",
                "smsMessage": notice.body.get("smsMessage"),
                "requestId": notice.body.get("requestId"),
            }
        )
        return outcome == "delivered"

    def _password(self, listener: Registration) -> str:
        """The registered password, or for a while after a change and only if switched on the old one in turn."""
        mixed = self._switches["passwordAfterReregistration"] == "mixed"
        if mixed and listener.previous_password is not None and self._clock.now() < listener.mixed_until:
            listener.sent += 1
            if listener.sent % 2:
                return listener.previous_password
        return listener.password or ""

    async def _post(self, url: str, body: bytes) -> tuple[str, int | None]:
        with self._clock.busy():
            headers = {"Content-Type": "application/json", "User-Agent": AGENT}
            if self._switches["sourceAddress"] == "published":
                self._attempts += 1
                headers["X-Forwarded-For"] = ADDRESSES[self._attempts % len(ADDRESSES)]
            try:
                async with self._connection().post(
                    url, data=body, headers=headers, ssl=self._trusted(), allow_redirects=False
                ) as answer:
                    await answer.content.read(READ_BYTES)
                    if not answer.content.at_eof():
                        answer.close()
                    accepted = 200 <= answer.status < 300  # noqa: PLR2004 - HTTP's own class of success
                    return ("delivered" if accepted else "refused"), answer.status
            except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
                return "untrusted", None
            except (aiohttp.ClientError, OSError, ValueError):
                return "unreachable", None

    def _trusted(self) -> ssl.SSLContext | bool:
        """The authorities a listener's certificate is checked against, or `False` for none."""
        if self._switches["certificates"] == "unchecked":
            return False
        if self._trust is None:
            self._trust = trust(self._ca)
        return self._trust

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


def trust(ca: str | None) -> ssl.SSLContext:
    """The machine's authorities and those of a file. Raises BadAuthority."""
    context = ssl.create_default_context()
    try:
        if ca is not None:
            context.load_verify_locations(ca)
    except OSError as error:
        raise BadAuthority(f"{ca} holds no certificate in PEM: {error.strerror or error}") from error
    return context


def check_addresses(overrides: Any) -> None:
    """Raise BadAddress unless this maps listeners' names to `address:port`."""
    if not isinstance(overrides, dict):
        raise BadAddress('resolve is an object such as {"hooks.example.net:443": "127.0.0.1:8443"}')
    for name, target in overrides.items():
        address, _, port = target.rpartition(":") if isinstance(target, str) else ("", "", "")
        try:
            ipaddress.ip_address(address)
            right = 0 < int(port) < 65536  # noqa: PLR2004 - the range of ports
        except ValueError:
            right = False
        if not right:
            raise BadAddress(f"{name!r} cannot be resolved as {target!r}; an example is 127.0.0.1:8443")


class _Resolver(aiohttp.abc.AbstractResolver):
    """The machine's resolver, with names that stand for an address of this machine put before it."""

    def __init__(self, overrides: dict[str, str]) -> None:
        self._overrides = overrides
        self._usual = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[aiohttp.abc.ResolveResult]:
        target = self._overrides.get(f"{host}:{port}") or self._overrides.get(host)
        if target is None:
            return await self._usual.resolve(host, port, family)
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
        await self._usual.close()
