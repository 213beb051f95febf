"""Outages of ThingSpace and of the network during `pulumi up`, each with a user of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.outages import (
    BY_NAME,
    LONG_TIMEOUT_SECONDS,
    OUTAGES,
    SCENARIO,
    SECRETS,
    Outage,
    OutageResult,
    build_accounts,
    build_environment,
    build_url,
    count_calls,
    end_outages,
    is_listening,
    start_emulator,
)
from tests.support.pulumi_project import CommandResult, Project
from tests.support.recording_proxy import run_recording_proxy
from tests.support.secret_scanner import SecretScanner

LOGIN_BLOCKED = (": login skipped: ", ": login blocked: ")  # the errors of other resources of the same user
PROGRAM = """
from thingspace_provider.resources import CallbackRegistration, SmsCallbackActivation

for profile, account, url in {table!r}:
    it = CallbackRegistration(account, account_name=account, url=url, readiness=False, profile=profile)
    SmsCallbackActivation(account, account_name=account, registration_url=it.endpoint, profile=profile)
"""


def is_login_blocked(line: str) -> bool:
    return any(text in line for text in LOGIN_BLOCKED)


@contextmanager
def run_outages(outages: tuple[Outage, ...], folder: Path) -> Iterator[OutageResult]:
    """Run one update with all outages, one without any, and one without changes."""
    course = OutageResult(LONG_TIMEOUT_SECONDS)
    emulator = start_emulator(outages, folder)
    project = Project(folder, {"XDG_STATE_HOME": str(folder / "rejected")})
    table = [(outage.name, account, build_url(account)) for outage in outages for account in build_accounts(outage)]
    (project.folder / "__main__.py").write_text(PROGRAM.format(table=table))
    project.init("dev")

    def errors(outcome: CommandResult) -> dict[str, str]:
        """Map each outage to its error. Resources of one user can share one failed login, and then both report it."""
        found: dict[str, str] = {}
        for line in outcome.errors:
            names = [
                outage.name
                for outage in outages
                if build_accounts(outage)[0] in line or f"as {outage.name} failed:" in line
            ]
            assert is_login_blocked(line) or len(names) == 1, line
            found |= dict.fromkeys([] if is_login_blocked(line) else names, line)
        return found

    try:
        with run_recording_proxy(emulator.url, slow=True) as slow:
            project.environment |= build_environment(outages, emulator.url, slow.url, LONG_TIMEOUT_SECONDS)
            began = time.monotonic()
            met = project.up("--continue-on-error", fails=any(outage.expected_error for outage in outages))
            seconds = (time.monotonic() - began) / 2  # two resource operations, one after the other
            course.seconds = dict.fromkeys(BY_NAME, seconds)
        course.errors, course.printed = errors(met), met.output
        course.calls = {outage.name: count_calls(outage, emulator) for outage in outages}
        project.environment |= end_outages(outages, emulator)
        course.next_errors = errors(project.up())
        project.up("--expect-no-changes")
        course.is_listening = {outage.name: is_listening(outage, emulator) for outage in outages}
        secrets = SecretScanner(**SECRETS)
        course.leaks = secrets.find_in_files(folder, {SCENARIO: SECRETS})
        course.leaks += secrets.find_in("".join([*project.printed, project.export()]).encode())
        yield course
    finally:
        emulator.end()


@pytest.mark.long
def test_a_wrong_password_costs_one_login_and_affects_no_other_user(tmp_path: Path) -> None:
    outages = tuple(BY_NAME[name] for name in ("wrong_password", "three_times_500"))
    with run_outages(outages, tmp_path) as course:
        for outage in outages:
            course.check(outage)
        assert course.leaks == []


@pytest.fixture(scope="module")
def outage_result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutageResult]:
    """Result of one update with all outages."""
    with run_outages(OUTAGES, tmp_path_factory.mktemp("outages")) as course:
        yield course


@pytest.mark.long
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_an_outage_is_reported_and_the_next_update_succeeds(outage_result: OutageResult, outage: Outage) -> None:
    outage_result.check(outage)


@pytest.mark.long
def test_no_outage_reveals_a_secret(outage_result: OutageResult) -> None:
    assert outage_result.leaks == []
