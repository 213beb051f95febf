"""Outages of ThingSpace and of the network, and the expected results.

Each outage has a ThingSpace user, a profile and an account of its own in one emulator, so that all of them happen in
one update and none can hide another.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.emulator_process import EmulatorProcess

LONG_TIMEOUT_SECONDS, SHORT_TIMEOUT_SECONDS = 30, 12  # seconds for one operation, THINGSPACE_RESOURCE_TIMEOUT_SECONDS
SLACK_SECONDS = 10.0  # for a busy machine
APP = ("outage-app-key", "outage-app-secret")
PASSWORD, WRONG_PASSWORD = "sentinel-right", "sentinel-wrong"
SECRETS = {"app_secret": APP[1], "password": PASSWORD, "wrong_password": WRONG_PASSWORD}
SCENARIO = "outages.yaml"  # next to the folder that is scanned for secrets
COUNTED = ("login", "listCallbacks", "registerCallback", "startCallbacks")
SMS = "UnifiedWebService."


@dataclass(frozen=True)
class Outage:
    """One outage.

    Args:
        name: Also the name of user and profile.
        calls: Number of logins, lists, registrations and starts until it ends or the deadline is exceeded.
        expected_error: Part of the error; "" when the update succeeds.
        expected_log: Part of a line that is printed during the retries.
        fault: Fault of the emulator for this account.
        password: Password of the program.
        locked: Whether the user is locked.
        slow: Whether responses to startCallbacks arrive byte by byte, without an end.
        accounts: Number of accounts of the user, each of which meets the fault.
    """

    name: str
    calls: tuple[int, int, int, int]
    expected_error: str = ""
    expected_log: str = ""
    fault: dict[str, Any] = field(default_factory=dict)
    password: str = PASSWORD
    locked: bool = False
    slow: bool = False
    accounts: int = 1

    @property
    def is_silent(self) -> bool:
        """Tell whether it lasts until the deadline."""
        return self.slow or "hang" in self.fault


def _start(**fault: Any) -> dict[str, Any]:
    return {"operation": "startCallbacks", **fault}


def _register(**fault: Any) -> dict[str, Any]:
    return {"operation": "registerCallback", **fault}


def _login(**fault: Any) -> dict[str, Any]:
    return {"operation": "login", **fault}


LOCKOUT_WARNING = "Five failed logins in a row lock the user"
UNCONFIRMED = "ThingSpace did not confirm with success: true"
ADDRESS = "Check THINGSPACE_BASE_URL"
HTML = "<html><head><title>Please log in</title></head></html>"

OUTAGES = (
    Outage("wrong_password", (1, 0, 0, 0), LOCKOUT_WARNING, password=WRONG_PASSWORD, accounts=3),
    Outage("locked", (1, 0, 0, 0), LOCKOUT_WARNING, locked=True),
    Outage("login_500", (2, 1, 1, 1), expected_log="retrying in", fault=_login(response={"status": 500})),
    Outage(  # each may count as a failed login
        "login_500_again",
        (2, 0, 0, 0),
        "ThingSpace responded with 500",
        fault=_login(response={"status": 500}, times=2),
        accounts=2,
    ),
    Outage("login_503", (4, 1, 1, 1), expected_log="retrying in", fault=_login(response={"status": 503}, times=3)),
    Outage("login_reset_after", (2, 1, 1, 1), expected_log="retrying in", fault=_login(drop="after")),
    Outage(
        "login_hang", (1, 0, 0, 0), "response within", expected_log="still waiting for", fault=_login(hang="before")
    ),
    Outage(
        "expired_session",
        (2, 1, 1, 2),
        fault=_start(response={"format": "m2m", "code": "REQUEST_FAILED.SessionToken.Expired"}),
    ),
    Outage(
        "expired_session_at_registration",
        (2, 1, 2, 1),
        fault=_register(response={"format": "m2m", "code": "REQUEST_FAILED.SessionToken.Expired"}),
    ),
    Outage("bearer_revoked", (1, 1, 1, 2), fault=_start(response={"format": "gateway", "code": "900901"})),
    Outage("young_session_rejected", (2, 1, 1, 2), fault=_start(response={"status": 401})),
    Outage("xml_403", (1, 1, 1, 1), ADDRESS, fault=_start(response={"format": "xml", "status": 403})),
    Outage("xml_404", (1, 1, 1, 1), ADDRESS, fault=_start(response={"format": "xml", "status": 404})),
    Outage("html_403", (1, 1, 1, 1), "Please log in", fault=_start(response={"status": 403, "body": HTML})),
    Outage("html_200", (1, 1, 1, 1), UNCONFIRMED, fault=_start(response={"status": 200, "body": HTML})),
    Outage("empty_body", (1, 1, 1, 1), UNCONFIRMED, fault=_start(response={"status": 200, "body": ""})),
    Outage(
        "too_many_requests",
        (1, 1, 1, 2),
        expected_log="requested a pause of 3 s (Retry-After); retrying in 3.",
        fault=_start(response={"status": 429, "headers": {"Retry-After": "3"}}),
    ),
    Outage(
        "far_too_many_requests",
        (1, 1, 1, 1),
        "ThingSpace responded with 429",
        fault=_start(response={"status": 429, "headers": {"Retry-After": "600"}}),
    ),
    Outage(
        "three_times_500",
        (1, 1, 1, 4),
        expected_log="ThingSpace responded with 500; retrying in",
        fault=_start(response={"status": 500}, times=3),
    ),
    Outage(
        "three_times_500_at_registration",
        (1, 4, 4, 1),
        expected_log="ThingSpace responded with 500; retrying in",
        fault=_register(response={"status": 500}, times=3),
    ),
    Outage("reset_before", (1, 1, 1, 2), expected_log="retrying in", fault=_start(drop="before")),
    Outage("reset_after", (1, 1, 1, 2), expected_log="retrying in", fault=_start(drop="after")),
    Outage("register_reset_before", (1, 2, 2, 1), expected_log="retrying in", fault=_register(drop="before")),
    Outage("register_reset_after", (1, 2, 1, 1), expected_log="retrying in", fault=_register(drop="after")),
    Outage("response_truncated", (1, 1, 1, 2), expected_log="retrying in", fault=_start(truncateBytes=5)),
    Outage("slow_body", (1, 1, 1, 1), "no complete response within", expected_log="still waiting for", slow=True),
    Outage("hang", (1, 1, 1, 1), "response within", expected_log="still waiting for", fault=_start(hang="before")),
)
BY_NAME = {outage.name: outage for outage in OUTAGES}


def build_accounts(outage: Outage) -> list[str]:
    return [f"{OUTAGES.index(outage):010}-{number:05}" for number in range(1, outage.accounts + 1)]


def build_url(account: str) -> str:
    return f"https://sms.example.com/{account}"


def build_matches(outage: Outage) -> list[dict[str, str]]:
    """Return the matches of its fault: the calls of each account, or the logins of the user."""
    if outage.fault["operation"] == "login":
        return [{"username": outage.name}]
    return [{"accountName": account} for account in build_accounts(outage)]


def start_emulator(outages: tuple[Outage, ...], folder: Path) -> EmulatorProcess:
    """Start an emulator with the faults of these outages."""
    scenario = {
        "applications": dict([APP]),
        "accounts": [account for outage in outages for account in build_accounts(outage)],
        "users": [
            {
                "username": outage.name,
                "password": PASSWORD,
                "accounts": build_accounts(outage),
                "locked": outage.locked,
            }
            for outage in outages
        ],
        "faults": [
            {**outage.fault, "match": match} for outage in outages if outage.fault for match in build_matches(outage)
        ],
    }
    file = folder / SCENARIO
    file.write_text(yaml.safe_dump(scenario))
    return EmulatorProcess("--scenario", str(file))


def build_environment(outages: tuple[Outage, ...], url: str, slow_url: str, deadline: int) -> dict[str, str]:
    """Return a profile for each outage."""
    variables = {"THINGSPACE_BASE_URL": url, "THINGSPACE_RESOURCE_TIMEOUT_SECONDS": str(deadline)}
    for outage in outages:
        prefix = f"THINGSPACE_{outage.name.upper()}_"
        variables |= {prefix + "APP_KEY": APP[0], prefix + "APP_SECRET": APP[1]}
        variables |= {prefix + "USERNAME": outage.name, prefix + "PASSWORD": outage.password}
        if outage.slow:
            variables[prefix + "BASE_URL"] = slow_url
    return variables


def end_outages(outages: tuple[Outage, ...], emulator: EmulatorProcess) -> dict[str, str]:
    """End every outage and return the environment in which the next update must succeed."""
    emulator.control("DELETE", "faults")
    for outage in outages:
        if outage.locked:
            emulator.control("POST", "users/unlock", {"username": outage.name})
    variables = build_environment(outages, emulator.url, emulator.url, LONG_TIMEOUT_SECONDS)
    passwords = {name: PASSWORD for name in variables if name.endswith("_PASSWORD")}
    return {**variables, **passwords, "THINGSPACE_LOGIN_OVERRIDE": "1"}


def count_calls(outage: Outage, emulator: EmulatorProcess) -> tuple[int, ...]:
    """Return the number of calls of each COUNTED operation for this outage."""
    counted = Counter(
        call["operation"]
        for call in emulator.control("GET", "journal")["calls"]
        if outage.name == call["username"] or call["accountName"] in build_accounts(outage)
    )
    return tuple(counted[operation] for operation in COUNTED)


def is_listening(outage: Outage, emulator: EmulatorProcess) -> bool:
    """Tell whether all its accounts are registered with the right URL and started."""
    listeners = {
        account["accountName"]: [listener["url"] for listener in account["listeners"]]
        for account in emulator.control("GET", "accounts")["accounts"]
    }
    calls = emulator.control("GET", "journal", operation="startCallbacks")["calls"]
    last = {call["accountName"]: call["status"] for call in calls}
    return all(listeners[it] == [build_url(it)] and last[it] == 200 for it in build_accounts(outage))


@dataclass
class OutageResult:
    """Results of outages: of the update during them, and of the next one."""

    deadline: int
    errors: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    printed: str = ""
    calls: dict[str, tuple[int, ...]] = field(default_factory=dict)
    next_errors: dict[str, str] = field(default_factory=dict)
    is_listening: dict[str, bool] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)

    def check(self, outage: Outage) -> None:
        """Check result, calls and duration of an outage, and the result of the next update."""
        error = self.errors.get(outage.name, "")
        assert bool(error) == bool(outage.expected_error), error
        assert outage.expected_error in error, error
        if error and "logging in" not in error:
            assert f"for account {build_accounts(outage)[0]}" in error
        assert self.calls[outage.name] == outage.calls
        prefixes = (f"account {build_accounts(outage)[0]}:", f" as {outage.name}:")
        own_lines = [line for line in self.printed.splitlines() if any(prefix in line for prefix in prefixes)]
        assert any(outage.expected_log in line for line in own_lines) or not outage.expected_log, own_lines
        assert self.seconds[outage.name] < 2 * self.deadline + SLACK_SECONDS  # a registration, then an activation
        assert outage.name not in self.next_errors, self.next_errors[outage.name]
        assert self.is_listening[outage.name]
