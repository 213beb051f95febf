"""Outages of ThingSpace and of the network in the provider process, over gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.support.fake_engine import Engine, Provider
from tests.support.outages import (
    LONG_TIMEOUT_SECONDS,
    OUTAGES,
    SECRETS,
    SHORT_TIMEOUT_SECONDS,
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
from tests.support.recording_proxy import run_recording_proxy
from tests.support.secret_scanner import SecretScanner


def bring_up(engine: Engine, outage: Outage, account: str) -> str:
    """Register and start callbacks, as an update does, and return the error or ""."""
    common = {"accountName": account, "profile": outage.name}
    inputs, failures = engine.check("CallbackRegistration", {**common, "url": build_url(account), "readiness": False})
    assert failures == []
    try:
        _, registered = engine.create("CallbackRegistration", inputs)
        engine.create("SmsCallbackActivation", {**common, "registrationUrl": registered["endpoint"]})
    except grpc.RpcError as error:
        return str(error.details())
    return ""


@pytest.fixture(scope="module")
def outage_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, OutageResult]]:
    """Results of all outages at once, then of an update without any, by whether they last until the deadline."""
    folder = tmp_path_factory.mktemp("outages")
    state = {"XDG_STATE_HOME": str(folder)}
    emulator, provider = start_emulator(OUTAGES, folder), Provider()
    results = {False: OutageResult(LONG_TIMEOUT_SECONDS), True: OutageResult(SHORT_TIMEOUT_SECONDS)}

    def met(engine: Engine, outage: Outage) -> str:
        began = time.monotonic()
        errors = [bring_up(engine, outage, account) for account in build_accounts(outage)]
        results[outage.is_silent].seconds.setdefault(outage.name, time.monotonic() - began)
        return errors[0]

    def run_outages(engines: dict[bool, Engine]) -> Iterator[tuple[Outage, OutageResult, str]]:
        with ThreadPoolExecutor(len(OUTAGES)) as threads:
            errors = list(threads.map(lambda case: met(engines[case.is_silent], case), OUTAGES))
        return ((outage, results[outage.is_silent], error) for outage, error in zip(OUTAGES, errors, strict=True))

    try:
        with run_recording_proxy(emulator.url, slow=True) as slow:
            engines = {
                silent: provider.start({**build_environment(OUTAGES, emulator.url, slow.url, result.deadline), **state})
                for silent, result in results.items()
            }
            for outage, result, error in run_outages(engines):
                result.errors |= {outage.name: error} if error else {}
                result.calls[outage.name] = count_calls(outage, emulator)
        for result in results.values():
            result.printed = provider.read_output()
        for outage, result, error in run_outages(
            dict.fromkeys(results, provider.start({**end_outages(OUTAGES, emulator), **state}))
        ):
            result.next_errors |= {outage.name: error} if error else {}
            result.is_listening[outage.name] = is_listening(outage, emulator)
        yield results
    finally:
        provider.stop()
        emulator.end()


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.name)
def test_an_outage_is_reported_and_the_next_update_succeeds(
    outage_results: dict[bool, OutageResult], outage: Outage
) -> None:
    outage_results[outage.is_silent].check(outage)


def test_no_outage_reveals_a_secret(outage_results: dict[bool, OutageResult]) -> None:
    for result in outage_results.values():
        assert SecretScanner(**SECRETS).find_in("".join([result.printed, *result.errors.values()]).encode()) == set()
