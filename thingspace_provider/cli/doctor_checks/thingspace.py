"""What ThingSpace answers: its address, a token, one login at most, each account's registrations.

Nothing is changed there.
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
CALL_TIMEOUT_SECONDS = 20.0  # for one call with its repetitions
ACCOUNTS_TIMEOUT_SECONDS = 60.0  # for all accounts together
RegistrationsByAccount = dict[str, list[Registration]]  # by account, for those that could be asked
CONNECTIVITY_HINT = (
    "Check the network, the proxy (HTTPS_PROXY, NO_PROXY) and THINGSPACE_BASE_URL (stack config thingspace:baseUrl)."
)


class SingleLoginTransport:
    """Sends what a client sends, but never a second login; remembers what was answered."""

    def __init__(self) -> None:
        self.login_was_sent = False
        self.statuses: dict[str, int] = {}
        self._transport = RequestsTransport()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float
    ) -> HttpResponse:
        """Send it and read the whole answer within `seconds`, or raise TransportError."""
        call = urlsplit(url).path.rpartition("/session/")[2]  # "login", "logout", or another path as it is
        if call == "login":
            if self.login_was_sent:
                raise TransportError(
                    "a second login was held back, because a diagnosis costs at most one", is_transient=False
                )
            self.login_was_sent = True
        response = self._transport.send(method, url, headers, body, seconds)
        self.statuses[call] = response.status
        return response


def run_checks(user: ResolvedUser, accounts: list[str], redactor: Redactor) -> Checks[RegistrationsByAccount]:
    """Returns the registrations of every account that could be asked."""
    for_all = [f"account {account}" for account in accounts]
    if user.base_url is None:
        yield from _skip_all(["name", "connection", "token", "login", *for_all], "the address is not usable")
        return {}
    is_reached = yield from _check_connection(user.base_url)
    if user.credentials is None:
        yield from _skip_all(["refused logins", "token", "login", *for_all], "the credentials are not complete")
        return {}
    yield _check_login_guard(user.credentials)
    if not is_reached:
        yield from _skip_all(["token", "login", *for_all], "ThingSpace cannot be reached")
        return {}
    transport = SingleLoginTransport()
    client = ThingSpaceClient(user.credentials, transport, Limits(CALL_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS))
    try:
        if not (yield from _check_login(client, user.credentials, transport)):
            yield from _skip_all(for_all, "there is no session")
            return {}
        registrations = yield from _check_accounts(client, accounts, redactor)
        client.logout()
        if transport.statuses.get("logout") == OK:
            yield ok("logout", "the session is ended")
        else:
            yield skipped("logout", "ThingSpace did not confirm it; it ends an idle session after 20 minutes")
        return registrations
    finally:
        client.logout()


def _skip_all(names: Iterable[str], reason: str) -> Checks[None]:
    for name in names:
        yield skipped(name, reason)


def _check_login_guard(credentials: Credentials) -> Check:
    """What is remembered of wrong passwords, and whether the next login would be held back."""
    login_guard = LoginGuard()
    record, file = login_guard.record(credentials), login_guard.file(credentials)
    if not record.failed_logins:
        return ok("refused logins", f"none for {credentials.username} on this machine")
    detail = (
        f"{record.failed_logins} wrong in a row from this machine, likely {record.remaining} left before ThingSpace locks "  # noqa: E501
        f"{credentials.username} at {LOCKOUT_THRESHOLD} ({file})"
    )
    is_rejected = login_guard.find_rejected(credentials) is not None
    if is_rejected and not login_guard.may_override(credentials):
        return failed(
            "refused logins",
            f"{detail}; this password is one of them, so the next login is held back",
            f"Correct the password. {login_guard.override_hint(credentials)}",
        )
    reason = f"{OVERRIDE_VARIABLE} allows one more try" if is_rejected else "this password was not among them"
    return ok("refused logins", f"{detail}; {reason}, so the next login is tried")


def _check_connection(base_url: str) -> Checks[bool]:
    """Name, connection and TLS, by a request without credentials; whatever it is answered will do."""
    target = reachability.parse_target(base_url)
    if target.proxy is not None:
        yield skipped("name", f"the proxy on the way out looks {target.host} up")
    else:
        try:
            addresses = ", ".join(reachability.resolve(target, RESPONSE_TIMEOUT_SECONDS))
            yield ok("name", addresses if addresses == target.host else f"{target.host} is {addresses}")
        except reachability.ProbeFailed as error:
            yield failed("name", error.detail, CONNECTIVITY_HINT)
            yield skipped("connection", "there is no address to connect to")
            return False
    try:
        RequestsTransport().send("GET", base_url, {"Accept": "application/json"}, None, RESPONSE_TIMEOUT_SECONDS)
    except TransportError as error:
        yield failed("connection", f"no answer from {base_url} ({error})", CONNECTIVITY_HINT)
        return False
    protocol = (
        "TLS, with a certificate that is trusted" if base_url.startswith("https:") else "plain http on this machine"
    )
    yield ok("connection", f"{target.address} answers ({protocol})")
    return True


def _check_login(client: ThingSpaceClient, credentials: Credentials, transport: SingleLoginTransport) -> Checks[bool]:
    """A token and a session; the error's own words tell which of the two failed."""
    try:
        client.login()
        login_error = None
    except ThingSpaceError as error:
        login_error = error
    if login_error is not None and not transport.login_was_sent and not isinstance(login_error, LoginBlocked):
        yield failed_with("token", login_error)
        yield skipped("login", "there is no token")
        return False
    yield ok("token", "the application key and secret are accepted")
    if isinstance(login_error, LoginBlocked):
        yield skipped("login", f"{login_error.detail}: see refused logins")
    elif login_error is not None:
        yield failed_with("login", login_error)
    else:
        yield ok("login", f"{credentials.username} is accepted")
    return login_error is None


def _check_accounts(
    client: ThingSpaceClient, accounts: list[str], redactor: Redactor
) -> Checks[RegistrationsByAccount]:
    """Each account's registrations."""
    if not accounts:
        yield skipped("accounts", "none are known: --account NAME, or the stack's thingspace:accounts")
    registrations: RegistrationsByAccount = {}
    deadline = time.monotonic() + ACCOUNTS_TIMEOUT_SECONDS
    for account in accounts:
        if time.monotonic() > deadline:
            yield skipped(f"account {account}", f"the accounts before it took {ACCOUNTS_TIMEOUT_SECONDS:g} s")
            continue
        try:
            registrations[account] = client.list_callbacks(account)
        except ThingSpaceError as error:
            yield failed_with(f"account {account}", error)
            continue
        redactor.add(entry.password for entry in registrations[account])
        services = ", ".join(sorted(entry.service_name for entry in registrations[account]))
        yield ok(f"account {account}", f"may be used; listeners for {services}" if services else "may be used")
    return registrations
