"""Everything that ThingSpace and the network do wrong, met by the provider process over gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.support.fake_engine import Engine, Provider
from tests.support.outages import (
    IMPATIENT,
    OUTAGES,
    PATIENT,
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
from tests.support.recording_proxy import middleman
from tests.support.secret_scanner import Secrets


def bring_up(engine: Engine, outage: Outage, account: str) -> str:
    """Register, then start callbacks, as an update does; the error, if any."""
    common = {"accountName": account, "profile": outage.name}
    inputs, failures = engine.check("CallbackRegistration", {**common, "url": url_of(account), "readiness": False})
    assert failures == []
    try:
        _, registered = engine.create("CallbackRegistration", inputs)
        engine.create("SmsCallbackActivation", {**common, "registrationUrl": registered["endpoint"]})
    except grpc.RpcError as error:
        return str(error.details())
    return ""


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Course]]:
    """All outages at once, then an update without any; by whether they last until the deadline."""
    folder = tmp_path_factory.mktemp("outages")
    state = {"XDG_STATE_HOME": str(folder)}
    emulator, provider = emulator_with(OUTAGES, folder), Provider()
    courses = {False: Course(PATIENT), True: Course(IMPATIENT)}

    def met(engine: Engine, outage: Outage) -> str:
        began = time.monotonic()
        errors = [bring_up(engine, outage, account) for account in accounts_of(outage)]
        courses[outage.silent].seconds.setdefault(outage.name, time.monotonic() - began)
        return errors[0]

    def all_at_once(engines: dict[bool, Engine]) -> Iterator[tuple[Outage, Course, str]]:
        with ThreadPoolExecutor(len(OUTAGES)) as threads:
            errors = list(threads.map(lambda it: met(engines[it.silent], it), OUTAGES))
        return ((outage, courses[outage.silent], error) for outage, error in zip(OUTAGES, errors, strict=True))

    try:
        with middleman(emulator.url, slow=True) as slow:
            engines = {
                silent: provider.start({**environment(OUTAGES, emulator.url, slow.url, course.deadline), **state})
                for silent, course in courses.items()
            }
            for outage, course, error in all_at_once(engines):
                course.errors |= {outage.name: error} if error else {}
                course.calls[outage.name] = calls_of(outage, emulator)
        for course in courses.values():
            course.printed = provider.said()
        for outage, course, error in all_at_once(
            dict.fromkeys(courses, provider.start({**put_right(OUTAGES, emulator), **state}))
        ):
            course.errors_of_the_next |= {outage.name: error} if error else {}
            course.listens[outage.name] = listens(outage, emulator)
        yield courses
    finally:
        provider.stop()
        emulator.end()


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda it: it.name)
def test_an_outage_ends_as_it_has_to_and_the_next_update_is_right(courses: dict[bool, Course], outage: Outage) -> None:
    courses[outage.silent].check(outage)


def test_no_outage_brings_a_secret_to_light(courses: dict[bool, Course]) -> None:
    for course in courses.values():
        assert Secrets(**SECRETS).within("".join([course.printed, *course.errors.values()]).encode()) == set()
