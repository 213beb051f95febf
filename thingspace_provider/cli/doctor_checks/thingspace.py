"""Checks of ThingSpace: its address, an access token, at most one login, and each account's registrations.

They change nothing in ThingSpace.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from thingspace_provider.api import Credentials, Limits, Registration, ThingSpaceClient
from thingspace_provider.api.errors import LoginBlocked, ThingSpaceError
from thingspace_provider.api.login_guard import LOCKOUT_THRESHOLD, OVERRIDE_VARIABLE, LoginGuard
from thingspace_provider.api.transport import HttpResponse, RequestsTransport, TransportError
from thingspace_provider.cli.doctor_checks.check import Check, Checks, failed, failed_with, ok, skipped
from thingspace_provider.cli.doctor_checks.configuration import ResolvedUser
from thingspace_provider.common.redaction import Redactor
from thingspace_provider.readiness import reachability

OK = 200
RESPONSE_TIMEOUT_SECONDS = 10.0
CALL_TIMEOUT_SECONDS = 20.0  # one call with its retries
ACCOUNTS_TIMEOUT_SECONDS = 60.0  # all accounts together
RegistrationsByAccount = dict[str, list[Registration]]  # only accounts whose registrations could be read
CONNECTIVITY_HINT = (
    "Check the network, the proxy (HTTPS_PROXY, NO_PROXY) and THINGSPACE_BASE_URL (stack config thingspace:baseUrl)."
)


class SingleLoginTransport:
    """Transport that never sends a second login, and records the status of each call."""

    def __init__(self) -> None:
        self.login_was_sent = False
        self.statuses: dict[str, int] = {}
        self._transport = RequestsTransport()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Send a request and return the response within `seconds`. Raises TransportError."""
        call = urlsplit(url).path.rpartition("/session/")[2]  # "login", "logout", or another path as it is
        if call == "login":
            if self.login_was_sent:
                raise TransportError("second login blocked: doctor sends at most one", is_transient=False)
            self.login_was_sent = True
        response = self._transport.send(method, url, headers, body, seconds)
        self.statuses[call] = response.status
        return response


def run_checks(user: ResolvedUser, accounts: list[str], redactor: Redactor) -> Checks[RegistrationsByAccount]:
    """Check ThingSpace and return the registrations of each account that could be read."""
    for_all = [f"account {account}" for account in accounts]
    if user.base_url is None:
        yield from _skip_all(["dns", "connect", "token", "login", *for_all], "the base URL is not usable")
        return {}
    is_reached = yield from _check_connection(user.base_url)
    if user.credentials is None:
        yield from _skip_all(["login guard", "token", "login", *for_all], "the credentials are incomplete")
        return {}
    yield _check_login_guard(user.credentials)
    if not is_reached:
        yield from _skip_all(["token", "login", *for_all], "ThingSpace is not reachable")
        return {}
    transport = SingleLoginTransport()
    client = ThingSpaceClient(user.credentials, transport, Limits(CALL_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS))
    try:
        if not (yield from _check_login(client, user.credentials, transport)):
            yield from _skip_all(for_all, "no session")
            return {}
        registrations = yield from _check_accounts(client, accounts, redactor)
        client.logout()
        if transport.statuses.get("logout") == OK:
            yield ok("logout", "the session ended")
        else:
            yield skipped("logout", "ThingSpace did not confirm it. It ends an idle session after 20 minutes")
        return registrations
    finally:
        client.logout()


def _skip_all(names: Iterable[str], reason: str) -> Checks[None]:
    for name in names:
        yield skipped(name, reason)


def _check_login_guard(credentials: Credentials) -> Check:
    """Check whether the login guard would block the next login."""
    login_guard = LoginGuard()
    record, file = login_guard.record(credentials), login_guard.file(credentials)
    if not record.failed_logins:
        return ok("login guard", f"no failed login of {credentials.username} on this machine")
    detail = (
        f"failed logins in a row from this machine: {record.failed_logins}; probably {record.remaining} left before "
        f"ThingSpace locks {credentials.username} at {LOCKOUT_THRESHOLD} ({file})"
    )
    is_rejected = login_guard.find_rejected(credentials) is not None
    if is_rejected and not login_guard.may_override(credentials):
        return failed(
            "login guard",
            f"{detail}; ThingSpace rejected this password before, so the next login is blocked",
            f"Correct the password. {login_guard.override_hint(credentials)}",
        )
    reason = f"{OVERRIDE_VARIABLE} permits one login" if is_rejected else "this password was not rejected"
    return ok("login guard", f"{detail}; {reason}, so the next login is sent")


def _check_connection(base_url: str) -> Checks[bool]:
    """Check DNS, connection and TLS with a request without credentials. Any response passes."""
    target = reachability.parse_target(base_url)
    if target.proxy is not None:
        yield skipped("dns", f"the proxy resolves {target.host}")
    else:
        try:
            addresses = ", ".join(reachability.resolve(target, RESPONSE_TIMEOUT_SECONDS))
            yield ok("dns", addresses if addresses == target.host else f"{target.host} resolves to {addresses}")
        except reachability.ProbeFailed as error:
            yield failed("dns", error.detail, CONNECTIVITY_HINT)
            yield skipped("connect", "no address to connect to")
            return False
    try:
        RequestsTransport().send("GET", base_url, {"Accept": "application/json"}, None, RESPONSE_TIMEOUT_SECONDS)
    except TransportError as error:
        yield failed("connect", f"no response from {base_url} ({error})", CONNECTIVITY_HINT)
        return False
    protocol = "TLS with a trusted certificate" if base_url.startswith("https:") else "plain http on this machine"
    yield ok("connect", f"{target.address} responds ({protocol})")
    return True


def _check_login(client: ThingSpaceClient, credentials: Credentials, transport: SingleLoginTransport) -> Checks[bool]:
    """Check the access token and the login."""
    try:
        client.login()
        login_error = None
    except ThingSpaceError as error:
        login_error = error
    if login_error is not None and not transport.login_was_sent and not isinstance(login_error, LoginBlocked):
        yield failed_with("token", login_error)
        yield skipped("login", "no access token")
        return False
    yield ok("token", "the application key and secret are accepted")
    if isinstance(login_error, LoginBlocked):
        yield skipped("login", f"{login_error.detail}: see login guard")
    elif login_error is not None:
        yield failed_with("login", login_error)
    else:
        yield ok("login", f"{credentials.username} is logged in")
    return login_error is None


def _check_accounts(
    client: ThingSpaceClient, accounts: list[str], redactor: Redactor
) -> Checks[RegistrationsByAccount]:
    """Check each account and return its registrations."""
    if not accounts:
        yield skipped("accounts", "no account names. Give --account NAME, or set thingspace:accounts in the stack")
    registrations: RegistrationsByAccount = {}
    deadline = time.monotonic() + ACCOUNTS_TIMEOUT_SECONDS
    for account in accounts:
        if time.monotonic() > deadline:
            yield skipped(
                f"account {account}", f"not checked: the accounts before it took {ACCOUNTS_TIMEOUT_SECONDS:g} s"
            )
            continue
        try:
            registrations[account] = client.list_callbacks(account)
        except ThingSpaceError as error:
            yield failed_with(f"account {account}", error)
            continue
        redactor.add(entry.password for entry in registrations[account])
        services = ", ".join(sorted(entry.service_name for entry in registrations[account]))
        yield ok(
            f"account {account}",
            f"usable; registered services: {services}" if services else "usable; nothing registered",
        )
    return registrations
