"""Status of the listener, and counts of messages over time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.support.emulator_process import EmulatorProcess
from tests.support.forwarding_harness import build_sink, send
from tests.support.listener_process import ACCOUNT, API_TOKEN, OTHER_ACCOUNT, ListenerProcess, build_text_callback
from tests.support.recovery_harness import build_recovery_settings
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

Start = Callable[..., ListenerProcess]
FAR_FUTURE = "2100-01-01T00:00:00Z"


def fetch(listener: ListenerProcess, path: str, status: int = 200, parameters: Any = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    response = listener.session.get(listener.admin_url + path, params=parameters, headers=headers, timeout=10)
    assert response.status_code == status, response.text
    return dict(response.json())


def test_status_needs_the_token_and_has_no_sinks_and_no_accounts_without_settings(listener: ListenerProcess) -> None:
    assert listener.get("/v1/status").status_code == 401
    assert listener.get("/v1/message-counts").status_code == 401
    expected = {**listener.get("/readyz").json(), "sinks": [], "accounts": []}
    assert fetch(listener, "/v1/status") == expected


def test_status_has_the_backlog_and_the_circuit_breaker_of_each_sink(
    start: Start, receiver: Receiver, other: Receiver
) -> None:
    receiver.responder = lambda received: (422 if received.text == "bad" else 204, {})
    other.responder = lambda _: (503, {})
    listener = start(sinks=[build_sink(receiver), build_sink(other, "erp")])
    send(listener, "good", "bad")

    def has_failed() -> bool:
        hub, erp = fetch(listener, "/v1/status")["sinks"]
        return hub["deadLetters"] == 1 and erp["circuitBreaker"] in {"open", "half_open"}

    wait_until(has_failed, 60, "one sink has a dead letter, the other is not available")
    hub, erp = fetch(listener, "/v1/status")["sinks"]
    assert (hub["name"], hub["circuitBreaker"], hub["pending"], hub["oldestPendingAt"]) == ("hub", "closed", 0, None)
    assert (erp["name"], erp["pending"], erp["lastError"]) == ("erp", 2, "the receiver responded with 503")
    assert erp["oldestPendingAt"] == listener.messages()[0]["receivedAt"]


@pytest.mark.long
def test_status_has_the_last_and_the_next_run_of_queue_recovery(
    start: Start, any_port_emulator: EmulatorProcess
) -> None:
    before = datetime.now(timezone.utc)
    listener = start(**build_recovery_settings(any_port_emulator, "history"))

    def fetch_account() -> dict[str, Any]:
        [account] = fetch(listener, "/v1/status")["accounts"]
        return dict(account)

    wait_until(lambda: fetch_account()["lastCompletedAt"], 60, "a run has completed")
    account = fetch_account()
    times = [datetime.fromisoformat(account[key].replace("Z", "+00:00")) for key in ("lastCompletedAt", "nextRunAt")]
    assert (account["account"], account["lastFailedAt"], account["lastError"]) == (ACCOUNT, None, None)
    assert before - timedelta(seconds=1) <= times[0] < times[1] <= datetime.now(timezone.utc) + timedelta(seconds=901)
    any_port_emulator.add_fault("smsHistory", 400, "", times=100)
    assert listener.post(build_text_callback(password="wrong")).status_code == 403  # requests a run
    wait_until(lambda: fetch_account()["lastError"], 60, "a run has failed")
    failed = fetch_account()
    assert failed["lastCompletedAt"] is not None
    assert failed["lastFailedAt"] >= failed["lastCompletedAt"]


def test_counts_are_of_the_selected_messages_in_buckets_of_time(start: Start) -> None:
    listener = start()
    send(listener, "T=1", "T=2", "gate", device="5551230001")
    listener.post(build_text_callback("T=3"), listener.path(OTHER_ACCOUNT))
    counts = fetch(listener, "/v1/message-counts")
    assert (counts["bucketSeconds"], counts["total"], sum(counts["counts"]), len(counts["counts"])) == (1800, 4, 4, 49)
    start_of_buckets = datetime.fromisoformat(counts["since"].replace("Z", "+00:00"))
    assert start_of_buckets.timestamp() % 1800 == 0
    for filters, total in (
        ({"contains": "T="}, 3),
        ({"account": OTHER_ACCOUNT}, 1),
        ({"device": "mdn:5551230001", "contains": "gate"}, 1),
        ({"kind": "fault"}, 0),
        ({"since": FAR_FUTURE, "until": FAR_FUTURE}, 0),
    ):
        assert fetch(listener, "/v1/message-counts", parameters=filters)["total"] == total


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"bucketSeconds": "0"}, "bucketSeconds must be a number from 1 to 86400"),
        ({"bucketSeconds": "1", "since": "2026-03-01"}, "1 to 1000 times bucketSeconds"),
        ({"since": FAR_FUTURE, "until": "2026-03-01"}, "1 to 1000 times bucketSeconds"),
        ({"limit": "5"}, "limit is not a parameter"),
        ({"since": "yesterday"}, "since must be a time"),
    ],
)
def test_invalid_parameters_of_counts_are_rejected(
    listener: ListenerProcess, parameters: dict[str, str], words: str
) -> None:
    assert words in fetch(listener, "/v1/message-counts", 400, parameters)["error"]
