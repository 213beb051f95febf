"""Alerting rules: each fires in its state, after its time, and in no other; promtool evaluates them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ALERTS = Path(__file__).resolve().parent.parent.parent / "deploy" / "monitoring" / "alerts.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
URL = "https://sms.example.com/callbacks/"

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="rules are NOT TESTED here: install Prometheus (apt-get install prometheus)"
)


def series(name: str, values: str, instance: str = "a", **labels: str) -> dict[str, str]:
    """Return a series of one replica, with a value for each minute in promtool's notation."""
    labels = {"namespace": "sms", "job": "listener", "instance": instance, **labels}
    written = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"thingspace_{name}{{{written}}}", "values": values}


def outside(name: str, values: str, instance: str = URL) -> dict[str, str]:
    """Return a series of the blackbox exporter."""
    return {"series": f'{name}{{job="thingspace-callback-url",instance="{instance}"}}', "values": values}


def started(minute: int, instance: str = "a") -> dict[str, str]:
    """Return the start time of a process, for ten hours after it."""
    labels = f'{{namespace="sms",job="listener",instance="{instance}"}}'
    return {"series": f"process_start_time_seconds{labels}", "values": f"_x{minute} {minute * 60}x600"}


ABSENT, STORE, REPLICA, DISK = (
    "ThingSpaceListenerAbsent",
    "ThingSpaceStoreFailing",
    "ThingSpaceReplicaNotReady",
    "ThingSpaceDiskFilling",
)
REJECTED, SINK, DELAYED, DEAD = (
    "ThingSpaceCallbacksRejected",
    "ThingSpaceSinkUnavailable",
    "ThingSpaceOutboxDelayed",
    "ThingSpaceDeadLetters",
)
QUEUE, LOGIN, RELOAD, URL_DOWN, CERTIFICATE = (
    "ThingSpaceQueueNotDrained",
    "ThingSpaceLoginRejected",
    "ThingSpaceSettingsReloadFailed",
    "ThingSpaceCallbackUrlUnreachable",
    "ThingSpaceCertificateExpiring",
)


class Case(NamedTuple):
    """Series, and the alerts that fire at minutes. A listener is present throughout, unless `is_absent`."""

    name: str
    series: list[dict[str, str]]
    firing: dict[int, set[str]]
    is_absent: bool = False


def rejected(reason: str, values: str, instance: str = "a") -> dict[str, str]:
    return series("callbacks_rejected_total", values, instance, reason=reason)


STORED = series("callbacks_stored_total", "5+1x600", kind="text")
RECOVERY_ON = series("recovery_interval_seconds", "900x600")
RUNS_IN_TIME = series("recovery_run_age_seconds", "60x600")
CASES = [
    Case(
        "a healthy listener", [STORED, RECOVERY_ON, RUNS_IN_TIME, series("outbox_dead_letters", "0x600")], {60: set()}
    ),
    # Absent
    Case(
        "the only replica is gone, then a new one starts",
        [series("ready", "1x9 stale"), series("ready", "_x41 1x20", "b")],
        {14: set(), 16: {ABSENT}, 40: {ABSENT}, 42: set()},
        is_absent=True,
    ),
    Case("there never was a listener", [], {4: set(), 6: {ABSENT}}, is_absent=True),
    Case(
        "one of two listeners is gone",
        [series("ready", "1x9 stale", job="other"), series("ready", "1x60")],
        {14: set(), 16: {ABSENT}, 60: {ABSENT}},
        is_absent=True,
    ),
    Case("some scrapes fail", [series("ready", "1 stale stale stale 1 stale 1x9")], {9: set()}, is_absent=True),
    Case("a replica was replaced", [series("ready", "1x9 stale"), series("ready", "_x9 1x60", "b")], {30: set()}),
    # Store and replicas
    Case(
        "no replica can store, then one can",
        [series("ready", "1x9 0x20 1x9"), series("ready", "1x9 0x30", "b")],
        {11: set(), 13: {STORE}, 30: {STORE}, 31: set()},
        is_absent=True,
    ),
    Case("no replica can store, and scrapes fail", [series("ready", "1x9 0 0 stale 0 stale 0 0")], {14: {STORE}}, True),
    Case(
        "one replica cannot store",
        [series("ready", "1x60"), series("ready", "1x9 0x29 1x9", "b")],
        {24: set(), 26: {REPLICA}, 39: {REPLICA}, 41: set()},
        is_absent=True,
    ),
    # Disk
    Case(
        "little space is left, then some is freed",
        [series("store_disk_free_bytes", "300x9 150x30 300x9"), series("store_disk_required_bytes", "100x60")],
        {24: set(), 26: {DISK}, 40: {DISK}, 41: set()},
    ),
    Case(
        "the space will not last a day",
        [series("store_disk_free_bytes", "1500-1x600"), series("store_disk_required_bytes", "100x600")],
        {300: set(), 320: {DISK}},
    ),
    Case(
        "the space will last for more than a day",
        [series("store_disk_free_bytes", "9000-1x600"), series("store_disk_required_bytes", "100x600")],
        {320: set()},
    ),
    # Rejected callbacks
    Case(
        "a wrong password, once; recovery is on",
        [STORED, RECOVERY_ON, RUNS_IN_TIME, rejected("invalid_credential", "0x9 1x100"), started(0)],
        {9: set(), 11: {REJECTED}, 60: {REJECTED}, 75: set()},
    ),
    Case(
        "a wrong password before the first scrape of a new pod",
        [STORED, rejected("invalid_credential", "_x10 1x100", "b"), started(9, "b")],
        {9: set(), 11: {REJECTED}, 60: {REJECTED}, 75: set()},
    ),
    Case(
        "a wrong password, then a restart, then another one",
        [STORED, rejected("invalid_credential", "7x99 0x9 1x100"), started(100)],
        {99: set(), 109: set(), 111: {REJECTED}, 175: set()},
    ),
    Case(
        "old rejections, and Prometheus was down for two hours",
        [STORED, rejected("invalid_credential", "7x99 _x120 7x100"), started(0)],
        {99: set(), 221: set(), 240: set()},
    ),
    Case(
        "not stored, but recovery drains", [RECOVERY_ON, RUNS_IN_TIME, rejected("not_stored", "0x9 3x60")], {20: set()}
    ),
    Case(
        "not stored, and recovery is off",
        [series("recovery_interval_seconds", "0x600"), rejected("not_stored", "0x9 3x60")],
        {9: set(), 11: {REJECTED}},
    ),
    Case(
        "a guessed URL, and nothing else",
        [rejected("not_found", "0x9 1x60"), series("callbacks_stored_total", "0x99")],
        {20: set()},
    ),
    Case("guessed URLs among accepted callbacks", [STORED, rejected("not_found", "0x9 9x60")], {20: set()}),
    Case(
        "every callback is not found, at two replicas",
        [
            rejected("not_found", "0x9 1x60"),
            rejected("not_found", "0x9 1x60", "b"),
            series("callbacks_stored_total", "0x99"),
        ],
        {9: set(), 11: {REJECTED}},
    ),
    # Sinks. Replicas export the same backlog.
    Case(
        "the circuit breaker of a sink is open at one replica",
        [
            series("circuit_breaker_open", "0x9 1x20 0x9", sink="hub"),
            series("circuit_breaker_open", "0x60", "b", sink="hub"),
        ],
        {19: set(), 21: {SINK}, 30: {SINK}, 31: set()},
    ),
    Case(
        "a circuit breaker is open, and scrapes fail",
        [series("circuit_breaker_open", "0x9 1 1 stale 1 1 stale stale 1 1 1 1 stale 1", sink="hub")],
        {19: set(), 22: {SINK}},
    ),
    Case(
        "a message waits, then is delivered",
        [series("outbox_oldest_age_seconds", "0+60x30 0x20", sink="hub")],
        {20: set(), 22: {DELAYED}, 30: {DELAYED}, 31: set()},
    ),
    Case(
        "messages wait for some minutes", [series("outbox_oldest_age_seconds", "0+60x15 0x9", sink="hub")], {21: set()}
    ),
    Case(
        "dead letters, then an operator retries them",
        [
            series("outbox_dead_letters", "0x9 2x9 0x9", sink="hub"),
            series("outbox_dead_letters", "0x9 2x9 0x9", "b", sink="hub"),
        ],
        {9: set(), 10: {DEAD}, 19: {DEAD}, 20: set()},
    ),
    Case(
        "dead letters, and the store fails for a time",
        [series("outbox_dead_letters", "2 2 stale _x6 2", sink="hub")],
        {8: {DEAD}},
    ),
    # Recovery
    Case(
        "the last run gets old, then one completes",
        [
            RECOVERY_ON,
            series("recovery_run_age_seconds", "0+60x59 0x9"),
            series("recovery_run_age_seconds", "0+60x59 0x9", "b"),
        ],
        {50: set(), 52: {QUEUE}, 59: {QUEUE}, 60: set()},
    ),
    Case(
        "recovery is off",
        [series("recovery_interval_seconds", "0x60"), series("recovery_run_age_seconds", "0x60")],
        {60: set()},
    ),
    Case(
        "an interval of a day",
        [series("recovery_interval_seconds", "86400x99"), series("recovery_run_age_seconds", "0+60x99")],
        {99: set()},
    ),
    Case(
        "a start after a long outage", [RECOVERY_ON, series("recovery_run_age_seconds", "9000+60x1 0x20")], {20: set()}
    ),
    Case(
        "ThingSpace rejects the login at one replica, then it is corrected",
        [series("recovery_stopped", "0x9 1x9 0x9"), series("recovery_stopped", "0x60", "b")],
        {9: set(), 10: {LOGIN}, 19: {LOGIN}, 20: set()},
    ),
    # Settings
    Case(
        "a reload failed, then one succeeds",
        [series("settings_reload_failed", "0x9 1x9 0x9"), series("settings_reload_failed", "0x60", "b")],
        {14: set(), 16: {RELOAD}, 19: {RELOAD}, 20: set()},
    ),
    # From outside
    Case("the URL is unreachable", [outside("probe_success", "1x9 0x9 1x9")], {14: set(), 16: {URL_DOWN}, 20: set()}),
    Case(
        "another target of the blackbox exporter",
        [{"series": 'probe_success{job="web"}', "values": "0x30"}],
        {30: set()},
    ),
    Case(
        "the certificate expires in 14 days, then is renewed",
        [outside("probe_ssl_earliest_cert_expiry", f"{14 * 86400 + 600}x99 {90 * 86400}x9")],
        {69: set(), 72: {CERTIFICATE}, 99: {CERTIFICATE}, 100: set()},
    ),
]


@needs_promtool
def test_rules_are_valid() -> None:
    checked = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_alerts_fire_in_their_states_and_in_no_other(tmp_path: Path) -> None:
    present = series("ready", "1x700")
    tests = [
        {
            "name": case.name,
            "interval": "1m",
            "input_series": [*case.series, *([] if case.is_absent else [present])],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)],
                }
                for minute, alerts in case.firing.items()
            ],
        }
        for case in CASES
    ]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    tested = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", RULES)
def test_first_case_of_an_alert_shows_it_before_it_fires_and_after_it_has_resolved(alert: str) -> None:
    with_alert = [case for case in CASES if any(alert in alerts for alerts in case.firing.values())]
    assert with_alert
    in_first_case = [alert in alerts for _, alerts in sorted(with_alert[0].firing.items())]
    assert in_first_case[0] is in_first_case[-1] is False
