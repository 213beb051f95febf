"""Everything that ThingSpace and the network do wrong, met by `pulumi up`; each kind with a user of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.outages import (
    BY_NAME,
    OUTAGES,
    PATIENT,
    SCENARIO,
    SECRETS,
    Course,
    Outage,
    accounts_of,
    calls_of,
    emulator_with,
    environment,
    listens,
    put_right,
    url_of,
)
from tests.support.pulumi_project import Outcome, Project
from tests.support.recording_proxy import middleman
from tests.support.secret_scanner import Secrets

HELD = ": not tried"  # what other resources of the same user say
PROGRAM = """
from thingspace_provider.resources import CallbackRegistration, SmsCallbackActivation

for profile, account, url in {table!r}:
    it = CallbackRegistration(account, account_name=account, url=url, readiness=False, profile=profile)
    SmsCallbackActivation(account, account_name=account, registration_url=it.endpoint, profile=profile)
"""


@contextmanager
def all_at_once(outages: tuple[Outage, ...], folder: Path) -> Iterator[Course]:
    """One update that meets all of them, one that meets none, and one that has nothing left to do."""
    course = Course(PATIENT)
    emulator = emulator_with(outages, folder)
    project = Project(folder, {"XDG_STATE_HOME": str(folder / "refused")})
    table = [(outage.name, account, url_of(account)) for outage in outages for account in accounts_of(outage)]
    (project.folder / "__main__.py").write_text(PROGRAM.format(table=table))
    project.init("dev")

    def errors(outcome: Outcome) -> dict[str, str]:
        return {
            outage.name: line
            for outage in outages
            for line in outcome.errors
            if HELD not in line
            if accounts_of(outage)[0] in line or f"as {outage.name}:" in line
        }

    try:
        with middleman(emulator.url, slow=True) as slow:
            project.environment |= environment(outages, emulator.url, slow.url, PATIENT)
            began = time.monotonic()
            met = project.up("--continue-on-error", fails=any(outage.said for outage in outages))
            course.seconds = dict.fromkeys(
                BY_NAME, (time.monotonic() - began) / 2
            )  # two operations, one after the other
        course.errors, course.printed = errors(met), met.text
        held = [line for line in met.errors if HELD in line]
        assert len(met.errors) == len(course.errors) + len(held), met.errors
        course.calls = {outage.name: calls_of(outage, emulator) for outage in outages}
        project.environment |= put_right(outages, emulator)
        course.errors_of_the_next = errors(project.up())
        project.up("--expect-no-changes")
        course.listens = {outage.name: listens(outage, emulator) for outage in outages}
        secrets = Secrets(**SECRETS)
        course.leaks = secrets.in_files(folder, {SCENARIO: SECRETS})
        course.leaks += secrets.within("".join([*project.printed, project.export()]).encode())
        yield course
    finally:
        emulator.end()


def test_a_wrong_password_costs_one_login_and_stops_nobody_else(tmp_path: Path) -> None:
    outages = tuple(BY_NAME[name] for name in ("wrong_password", "three_times_500"))
    with all_at_once(outages, tmp_path) as course:
        for outage in outages:
            course.check(outage)
        assert course.leaks == []


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """All of them, in one update."""
    with all_at_once(OUTAGES, tmp_path_factory.mktemp("outages")) as course:
        yield course


@pytest.mark.long
@pytest.mark.parametrize("outage", OUTAGES, ids=lambda it: it.name)
def test_an_outage_ends_as_it_has_to_and_the_next_update_is_right(course: Course, outage: Outage) -> None:
    course.check(outage)


@pytest.mark.long
def test_no_outage_brings_a_secret_to_light(course: Course) -> None:
    assert course.leaks == []
