"""What ThingSpace answers: its address, a token, one login at most, each account's registrations.

Nothing is changed there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from thingspace_provider.api import Client, Credentials, Limits, Registration
from thingspace_provider.api.errors import LoginHeld, ThingSpaceError
from thingspace_provider.api.login_guard import LOCKS_AT, OVERRIDE, RefusedLogins
from thingspace_provider.api.transport import Answer, NoAnswer, RequestsTransport
from thingspace_provider.cli.doctor_checks.check import Step, Steps, failed, ok, refused, skipped
from thingspace_provider.cli.doctor_checks.configuration import User
from thingspace_provider.common.redaction import Secrets
from thingspace_provider.readiness import reachability

OK = 200
ANSWER_SECONDS = 10.0
CLIENT_SECONDS = 20.0  # for one call with its repetitions
ACCOUNTS_SECONDS = 60.0  # for all accounts together
Registered = dict[str, list[Registration]]  # by account, for those that could be asked
CHECK_ADDRESS = (
    "Check the network, the proxy (HTTPS_PROXY, NO_PROXY) and THINGSPACE_BASE_URL (stack config thingspace:baseUrl)."
)


class OneLogin:
    """Sends what a client sends, but never a second login; remembers what was answered."""

    def __init__(self) -> None:
        self.login_was_sent = False
        self.answered: dict[str, int] = {}
        self._transport = RequestsTransport()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Answer:
        """Send it and read the whole answer within `seconds`, or raise NoAnswer."""
        call = urlsplit(url).path.rpartition("/session/")[2]  # "login", "logout", or another path as it is
        if call == "login":
            if self.login_was_sent:
                raise NoAnswer("a second login was held back, because a diagnosis costs at most one", passing=False)
            self.login_was_sent = True
        answer = self._transport.send(method, url, headers, body, seconds)
        self.answered[call] = answer.status
        return answer


def steps(user: User, accounts: list[str], secrets: Secrets) -> Steps[Registered]:
    """Returns the registrations of every account that could be asked."""
    for_all = [f"account {account}" for account in accounts]
    if user.base_url is None:
        yield from _not_tried(["name", "connection", "token", "login", *for_all], "the address is not usable")
        return {}
    is_reached = yield from _reached(user.base_url)
    if user.credentials is None:
        yield from _not_tried(["refused logins", "token", "login", *for_all], "the credentials are not complete")
        return {}
    yield _record(user.credentials)
    if not is_reached:
        yield from _not_tried(["token", "login", *for_all], "ThingSpace cannot be reached")
        return {}
    transport = OneLogin()
    client = Client(user.credentials, transport, Limits(CLIENT_SECONDS, ANSWER_SECONDS))
    try:
        if not (yield from _logged_in(client, user.credentials, transport)):
            yield from _not_tried(for_all, "there is no session")
            return {}
        found = yield from _listed(client, accounts, secrets)
        client.logout()
        if transport.answered.get("logout") == OK:
            yield ok("logout", "the session is ended")
        else:
            yield skipped("logout", "ThingSpace did not confirm it; it ends an idle session after 20 minutes")
        return found
    finally:
        client.logout()


def _not_tried(names: Iterable[str], why: str) -> Steps[None]:
    for name in names:
        yield skipped(name, why)


def _record(credentials: Credentials) -> Step:
    """What is remembered of wrong passwords, and whether the next login would be held back."""
    refused_logins = RefusedLogins()
    record, file = refused_logins.record(credentials), refused_logins.file(credentials)
    if not record.strikes:
        return ok("refused logins", f"none for {credentials.username} on this machine")
    known = (
        f"{record.strikes} wrong in a row from this machine, likely {record.left} left before ThingSpace locks "
        f"{credentials.username} at {LOCKS_AT} ({file})"
    )
    is_known = refused_logins.known(credentials) is not None
    if is_known and not refused_logins.may_override(credentials):
        return failed(
            "refused logins",
            f"{known}; this password is one of them, so the next login is held back",
            f"Correct the password. {refused_logins.one_more(credentials)}",
        )
    why = f"{OVERRIDE} allows one more try" if is_known else "this password was not among them"
    return ok("refused logins", f"{known}; {why}, so the next login is tried")


def _reached(base_url: str) -> Steps[bool]:
    """Name, connection and TLS, by a request without credentials; whatever it is answered will do."""
    to = reachability.target(base_url)
    if to.proxy is not None:
        yield skipped("name", f"the proxy on the way out looks {to.host} up")
    else:
        try:
            addresses = ", ".join(reachability.addresses(to, ANSWER_SECONDS))
            yield ok("name", addresses if addresses == to.host else f"{to.host} is {addresses}")
        except reachability.NotProven as problem:
            yield failed("name", problem.what, CHECK_ADDRESS)
            yield skipped("connection", "there is no address to connect to")
            return False
    try:
        RequestsTransport().send("GET", base_url, {"Accept": "application/json"}, None, ANSWER_SECONDS)
    except NoAnswer as error:
        yield failed("connection", f"no answer from {base_url} ({error})", CHECK_ADDRESS)
        return False
    by = "TLS, with a certificate that is trusted" if base_url.startswith("https:") else "plain http on this machine"
    yield ok("connection", f"{to.address} answers ({by})")
    return True


def _logged_in(client: Client, credentials: Credentials, transport: OneLogin) -> Steps[bool]:
    """A token and a session; the error's own words tell which of the two failed."""
    try:
        client.login()
        problem = None
    except ThingSpaceError as error:
        problem = error
    if problem is not None and not transport.login_was_sent and not isinstance(problem, LoginHeld):
        yield refused("token", problem)
        yield skipped("login", "there is no token")
        return False
    yield ok("token", "the application key and secret are accepted")
    if isinstance(problem, LoginHeld):
        yield skipped("login", f"{problem.answer}: see refused logins")
    elif problem is not None:
        yield refused("login", problem)
    else:
        yield ok("login", f"{credentials.username} is accepted")
    return problem is None


def _listed(client: Client, accounts: list[str], secrets: Secrets) -> Steps[Registered]:
    """Each account's registrations."""
    if not accounts:
        yield skipped("accounts", "none are known: --account NAME, or the stack's thingspace:accounts")
    found: Registered = {}
    end = time.monotonic() + ACCOUNTS_SECONDS
    for account in accounts:
        if time.monotonic() > end:
            yield skipped(f"account {account}", f"the accounts before it took {ACCOUNTS_SECONDS:g} s")
            continue
        try:
            found[account] = client.list_callbacks(account)
        except ThingSpaceError as error:
            yield refused(f"account {account}", error)
            continue
        secrets.add(entry.password for entry in found[account])
        services = ", ".join(sorted(entry.service_name for entry in found[account]))
        yield ok(f"account {account}", f"may be used; listeners for {services}" if services else "may be used")
    return found
