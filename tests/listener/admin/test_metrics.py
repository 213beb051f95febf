"""Metrics that alerting rules rely on: counters from their start, readiness, free disk space, age of recovery runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from prometheus_client.parser import text_string_to_metric_families

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.listener_process import ListenerProcess
from tests.support.recovery_harness import build_recovery_settings, has_recovered
from tests.support.waiting import wait_until

Start = Callable[..., ListenerProcess]
HOUR_US = 3_600_000_000


def read_metrics(listener: ListenerProcess) -> dict[str, float]:
    """Return the samples by their name and the values of their labels."""
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(listener.get("/metrics").text)
        for sample in family.samples
    }


def test_counters_readiness_and_resources_have_values_when_nothing_has_happened(start: Start) -> None:
    metrics = read_metrics(start(minFreeDiskSpace="1MB"))
    reasons = ("body_too_large", "not_found", "unexpected_source", "malformed", "invalid_credential", "not_stored")
    for reason in reasons:
        assert metrics[f"thingspace_callbacks_rejected_total {reason}"] == 0
    for result in ("completed", "skipped", "failed"):
        assert metrics[f"thingspace_recovery_runs_total {result}"] == 0
    assert metrics["thingspace_ready"] == 1
    assert metrics["thingspace_store_disk_free_bytes"] > metrics["thingspace_store_disk_required_bytes"] == 10**6
    assert metrics["thingspace_recovery_run_age_seconds"] == metrics["thingspace_recovery_interval_seconds"] == 0
    assert time.time() - metrics["process_start_time_seconds"] < 600
    assert metrics["process_resident_memory_bytes"] > 0


def test_listener_is_not_ready_in_its_metrics_when_the_disk_has_too_little_space(start: Start) -> None:
    metrics = read_metrics(start(minFreeDiskSpace="99%"))
    assert metrics["thingspace_ready"] == 0
    assert metrics["thingspace_store_disk_free_bytes"] < metrics["thingspace_store_disk_required_bytes"]


def test_age_of_the_last_run_is_that_of_the_account_whose_run_is_oldest(
    start: Start, any_port_emulator: EmulatorProcess
) -> None:
    listener = start(**build_recovery_settings(any_port_emulator, "history"))
    wait_until(has_recovered(listener, 1), 60, "the queue is drained")

    def read_age() -> float:
        return read_metrics(listener)["thingspace_recovery_run_age_seconds"]

    wait_until(lambda: read_age() < 600, 60, "the metric has the run")
    assert read_metrics(listener)["thingspace_recovery_interval_seconds"] == 900
    with closing(sqlite3.connect(listener.folder / "inbox.sqlite3", isolation_level=None)) as store:
        store.execute("UPDATE coordination SET value = value - ? WHERE name = ?", (HOUR_US, f"recovery_run {ACCOUNT}"))
    assert 3600 <= read_age() < 4200
    listener.folder.joinpath("inbox.sqlite3").rename(listener.folder / "moved")
    assert read_age() >= 3600  # the store cannot be read: the age of the last known run
