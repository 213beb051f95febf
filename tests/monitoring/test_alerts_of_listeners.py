"""Alerts of real listeners: a real Prometheus scrapes them, and each alert fires in the state that a test provokes.

The rules are those of the project without `for`, with their expressions unchanged. Old messages and runs are made in
the store, so that no test waits for hours.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.test_rules import RULES
from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.forwarding_harness import build_sink, send
from tests.support.listener_process import ListenerProcess, build_text_callback, reserve_port
from tests.support.postgres_server import PostgresServer
from tests.support.prometheus import Prometheus
from tests.support.recovery_harness import build_recovery_settings, has_recovered
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.long
Start = Callable[..., ListenerProcess]
Watch = Callable[..., "Watched"]
TWO_HOURS_US = 7_200_000_000


class Watched:
    """Listeners of one job, all scraped and healthy at first."""

    def __init__(self, prometheus: Prometheus, job: str, *listeners: ListenerProcess) -> None:
        self._prometheus, self._job = prometheus, job
        for listener in listeners:
            prometheus.add(listener, job)
        scraped = f'min(count_over_time(thingspace_ready{{job="{job}"}}[1m])) >= 3 and count(up{{job="{job}"}})'
        wait_until(lambda: prometheus.value(f"{scraped} == {len(listeners)}"), 60, "all listeners are scraped")
        self.wait_for()

    def alerts(self) -> set[str]:
        firing = self._prometheus.firing(job=self._job)
        for alert in firing.values():
            for text in alert["annotations"].values():
                assert text
                assert not {"<", "%!"} & set(text), text  # errors of the template
            assert alert["labels"]["severity"] == RULES[alert["labels"]["alertname"]]["labels"]["severity"]
        return set(firing)

    def wait_for(self, *alerts: str) -> None:
        """Wait until exactly these alerts fire."""
        wait_until(lambda: self.alerts() == set(alerts), 60, f"exactly the alerts {alerts} fire", 0.2)


@pytest.fixture
def watch(prometheus_server: Prometheus, request: pytest.FixtureRequest) -> Watch:
    """Function that has Prometheus scrape listeners as one job, with the name of the test."""
    return lambda *listeners: Watched(prometheus_server, request.node.name, *listeners)


def execute(listener: ListenerProcess, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(listener.folder / "inbox.sqlite3", isolation_level=None, timeout=30)) as store:
        assert store.execute(statement, values).rowcount > 0


def test_absent_listener(start: Start, watch: Watch) -> None:
    listener = start(port=reserve_port())
    watched = watch(listener)
    listener.kill()
    watched.wait_for("ThingSpaceListenerAbsent")
    start(listener.folder, port=listener.port)
    watched.wait_for()


def test_store_that_fails_and_callbacks_that_stay_in_the_queue(
    start: Start, watch: Watch, postgres: PostgresServer
) -> None:
    url = postgres.create_database()
    listeners = start(store=url), start(store=url)
    watched = watch(*listeners)
    postgres.stop()
    try:
        watched.wait_for("ThingSpaceStoreFailing")
        assert listeners[0].post(build_text_callback()).status_code == 503
        watched.wait_for("ThingSpaceStoreFailing", "ThingSpaceCallbacksRejected")
    finally:
        postgres.start()
    watched.wait_for("ThingSpaceCallbacksRejected")  # for an hour


def test_store_of_one_replica_that_fails(start: Start, watch: Watch) -> None:
    failing, working = start(), start()
    watched = watch(failing, working)
    file = failing.folder / "inbox.sqlite3"
    file.rename(file.with_suffix(".moved"))
    watched.wait_for("ThingSpaceReplicaNotReady")
    file.with_suffix(".moved").rename(file)
    watched.wait_for()


def test_disk_that_fills_up(start: Start, watch: Watch, tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    first = start(port=reserve_port())
    watched = watch(first)
    first.stop()
    second = start(first.folder, port=first.port, minFreeDiskSpace=int(free * 0.6))
    watched.wait_for("ThingSpaceDiskFilling")
    assert second.get("/readyz").status_code == 200
    second.stop()
    third = start(first.folder, port=first.port, minFreeDiskSpace=2 * free)
    watched.wait_for("ThingSpaceDiskFilling", "ThingSpaceStoreFailing")
    third.stop()
    start(first.folder, port=first.port)
    watched.wait_for()


@pytest.mark.parametrize(
    ("post", "is_alarming"),
    [
        pytest.param(lambda listener: listener.post(build_text_callback(password="wrong")), True, id="wrong password"),
        pytest.param(
            lambda listener: [listener.post(b"{}", f"/callbacks/old-path-token/{ACCOUNT}") for _ in range(2)],
            True,
            id="old path token",
        ),
        pytest.param(lambda listener: listener.post(b"{}", "/callbacks/guess/guess"), False, id="a guess"),
    ],
)
def test_rejected_callbacks(
    start: Start,
    watch: Watch,
    post: Callable[[ListenerProcess], object],
    is_alarming: bool,
    prometheus_server: Prometheus,
) -> None:
    listener = start()
    watched = watch(listener)
    post(listener)
    instance = listener.admin_url.removeprefix("http://")
    rejected = f'sum(thingspace_callbacks_rejected_total{{instance="{instance}"}})'
    wait_until(lambda: prometheus_server.value(f"{rejected} > 0"), 60, "Prometheus has the rejected callbacks")
    if is_alarming:
        watched.wait_for("ThingSpaceCallbacksRejected")
    else:
        increase = 'job_reason:thingspace_callbacks_rejected:increase1h{reason="not_found"}'
        wait_until(lambda: prometheus_server.query(increase), 60, "the rules are evaluated")
        assert "ThingSpaceCallbacksRejected" not in watched.alerts()


def test_unavailable_sink_with_a_message_that_waits(start: Start, watch: Watch, receiver: Receiver) -> None:
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "delivered")
    watched = watch(listener)
    receiver.down()
    send(listener, "waits")
    watched.wait_for("ThingSpaceSinkUnavailable")
    execute(listener, "UPDATE messages SET received_at = received_at - ? WHERE text = 'waits'", TWO_HOURS_US)
    watched.wait_for("ThingSpaceSinkUnavailable", "ThingSpaceOutboxDelayed")
    receiver.up()
    watched.wait_for()
    assert receiver.accepted_texts() == ["delivered", "waits"]


def test_message_of_one_device_that_waits(start: Start, watch: Watch, receiver: Receiver) -> None:
    listener = start(sinks=[build_sink(receiver)])
    watched = watch(listener)
    receiver.responder = lambda received: (500 if received.text == "waits" else 204, {})
    send(listener, "waits")
    execute(listener, "UPDATE messages SET received_at = received_at - ?", TWO_HOURS_US)
    watched.wait_for("ThingSpaceOutboxDelayed")
    receiver.responder = lambda _: (204, {})
    watched.wait_for()


def test_dead_letters(start: Start, watch: Watch, receiver: Receiver) -> None:
    listener = start(sinks=[build_sink(receiver)])
    watched = watch(listener)
    receiver.responder = lambda received: (422 if received.text == "invalid" else 204, {})
    send(listener, "invalid", "valid")
    watched.wait_for("ThingSpaceDeadLetters")
    receiver.responder = lambda _: (204, {})
    headers = {"Authorization": "Bearer invented-api-token"}
    assert listener.session.post(f"{listener.admin_url}/v1/dead-letters/retry", headers=headers, timeout=10).ok
    watched.wait_for()


def test_queue_that_is_not_drained(start: Start, watch: Watch, any_port_emulator: EmulatorProcess) -> None:
    settings = build_recovery_settings(any_port_emulator, "startCallbacks", recoveryIntervalSeconds=6)
    listener = start(**settings)
    wait_until(has_recovered(listener, 1), 60, "the queue is drained")
    watched = watch(listener)
    any_port_emulator.add_fault("startCallbacks", 500, {}, times=1000)
    execute(listener, "UPDATE coordination SET value = value - ? WHERE name LIKE 'recovery_run %'", TWO_HOURS_US)
    watched.wait_for("ThingSpaceQueueNotDrained")
    any_port_emulator.control("DELETE", "faults")
    watched.wait_for()


def test_rejected_login(start: Start, watch: Watch, any_port_emulator: EmulatorProcess) -> None:
    settings = build_recovery_settings(any_port_emulator, "startCallbacks", recoveryIntervalSeconds=6)
    correct = settings["thingspaceCredentials"]
    listener = start(**settings)
    wait_until(has_recovered(listener, 1), 60, "the queue is drained")
    watched = watch(listener)
    listener.write(**{**settings, "thingspaceCredentials": {**correct, "password": "wrong"}})
    watched.wait_for("ThingSpaceLoginRejected")
    assert any_port_emulator.count_calls()["login"] == 2
    listener.write(**settings)
    watched.wait_for()


def test_failed_settings_reload(start: Start, watch: Watch) -> None:
    listener = start()
    watched = watch(listener)
    listener.write(password=None)
    watched.wait_for("ThingSpaceSettingsReloadFailed")
    listener.write()
    watched.wait_for()
