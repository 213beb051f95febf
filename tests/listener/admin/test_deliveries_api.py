"""Deliveries API and its commands: delivery history, and dead letters that are retried or discarded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from tests.support.forwarding_harness import build_sink, read_metric, send
from tests.support.listener_process import API_TOKEN, ListenerProcess
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import ReceivedRequest, Receiver
from thingspace_provider.cli import messages

Start = Callable[..., ListenerProcess]


def request_json(listener: ListenerProcess, path: str, method: str = "GET", status: int = 200) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    response = listener.session.request(method, f"{listener.url}{path}", headers=headers, timeout=10)
    assert response.status_code == status, response.text
    return dict(response.json())


def run(listener: ListenerProcess, *arguments: str) -> Result:
    """The command within this process, against the real listener."""
    environment = {"THINGSPACE_LISTENER_API_TOKEN": API_TOKEN}
    return CliRunner().invoke(messages.command, [*arguments, "--url", listener.url], env=environment)


def create_dead_letters(listener: ListenerProcess, count: int) -> None:
    wait_until(
        lambda: read_metric(listener, "thingspace_outbox_dead_letters") == count,
        60,
        "the metrics count all dead letters",
    )


def test_message_has_receive_store_and_delivery_times(start: Start, receiver: Receiver) -> None:
    listener = start(sinks=[build_sink(receiver), build_sink(receiver, "reports", messageKinds=["fault"])])
    send(listener, "on its way")
    receiver.wait_for("on its way")
    wait_until(
        lambda: all(read_metric(listener, "thingspace_outbox_pending", name) == 0 for name in ("hub", "reports")),
        60,
        "the outbox is empty",
    )
    message = request_json(listener, "/v1/messages/1")
    assert message["text"] == "on its way"
    assert message["receivedAt"] <= message["storedAt"] <= message["deliveries"][0]["updatedAt"]
    for delivery in message["deliveries"]:
        del delivery["updatedAt"]
    nothing = {"lastError": None, "nextAttemptAt": None}
    assert sorted(message["deliveries"], key=lambda entry: str(entry["sink"])) == [
        {"sink": "hub", "state": "delivered", "attempts": 1, **nothing},
        {"sink": "reports", "state": "skipped", "attempts": 1, **nothing},
    ]
    assert request_json(listener, "/v1/messages/2", status=404) == {"error": "there is no message 2"}
    assert request_json(listener, "/v1/messages/x", status=404) == {"error": "there is no message x"}


def test_permanently_rejected_message_is_a_dead_letter_at_once_and_the_next_one_follows(
    start: Start, receiver: Receiver
) -> None:
    receiver.responder = lambda received: (422 if received.text == "bad" else 204, {})
    listener = start(sinks=[build_sink(receiver)])
    send(listener, "good", "bad", "better")
    receiver.wait_for("good", "better")
    create_dead_letters(listener, 1)
    (letter,) = request_json(listener, "/v1/dead-letters")["deadLetters"]
    assert (letter["sink"], letter["lastError"], letter["attempts"]) == ("hub", "the receiver responded with 422", 1)
    assert letter["message"]["text"] == "bad"
    (delivery,) = request_json(listener, "/v1/messages/2")["deliveries"]
    assert (delivery["state"], delivery["lastError"]) == ("dead_letter", "the receiver responded with 422")

    receiver.responder = lambda _: (204, {})
    assert request_json(listener, "/v1/dead-letters/2/retry?sink=hub", "POST") == {"retried": 1}
    receiver.wait_for("bad")
    assert receiver.requests[-1].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]
    create_dead_letters(listener, 0)
    assert request_json(listener, "/v1/dead-letters/2/retry", "POST", 404) == {"error": "message 2 is no dead letter"}


@pytest.mark.long
def test_a_message_becomes_a_dead_letter_when_it_fails_too_often_while_others_are_delivered(
    start: Start, receiver: Receiver
) -> None:
    receiver.responder = lambda received: (500 if received.text == "poison" else 204, {})
    listener = start(sinks=[build_sink(receiver, maxAttempts=2)])
    send(listener, "poison", "after it", device="5551230009")
    receiver.wait(lambda there: bool(there.requests))
    send(listener, "of another")
    receiver.wait_for("of another", "after it")
    create_dead_letters(listener, 1)
    (letter,) = request_json(listener, "/v1/dead-letters")["deadLetters"]
    assert (letter["message"]["text"], letter["lastError"]) == ("poison", "the receiver responded with 500")
    assert letter["attempts"] == 2


@pytest.mark.long
def test_a_message_becomes_a_dead_letter_also_when_the_clock_of_the_server_is_ahead(
    start: Start, postgres: PostgresServer, receiver: Receiver
) -> None:
    receiver.responder = lambda received: (500 if received.text == "poison" else 204, {})
    database = postgres.create_database()
    listener = start(store=database, sinks=[build_sink(receiver, maxAttempts=2)])
    with psycopg.connect(database) as connection:
        for function in ("clock_time", "statement_time"):
            [(definition,)] = connection.execute(f"SELECT pg_get_functiondef('thingspace.{function}()'::regprocedure)")
            connection.execute(definition.replace("* 1000000", "* 1000000 + 600000000"))
    send(listener, "poison", "after it", device="5551230009")
    receiver.wait(lambda there: bool(there.requests))
    send(listener, "of another")
    receiver.wait_for("of another", "after it")
    create_dead_letters(listener, 1)


@pytest.mark.long
def test_no_dead_letters_when_a_sink_rejects_everything(start: Start, receiver: Receiver) -> None:
    receiver.responder = lambda _: (500, {})
    listener = start(sinks=[build_sink(receiver, maxAttempts=1)])
    for number in range(6):
        send(listener, f"t{number}", device=f"555123000{number}")
    wait_until(lambda: read_metric(listener, "thingspace_circuit_breaker_open") == 1, 60, "the circuit breaker opens")
    assert read_metric(listener, "thingspace_outbox_dead_letters") == 0
    assert read_metric(listener, "thingspace_outbox_pending") == 6

    def reasons() -> set[str]:
        return {
            request_json(listener, f"/v1/messages/{number}")["deliveries"][0]["lastError"] for number in range(1, 7)
        }

    wait_until(lambda: reasons() == {"the receiver responded with 500"}, 60, "every entry has the receiver's error")
    receiver.responder = lambda _: (204, {})
    receiver.wait_for(*(f"t{number}" for number in range(6)))


def test_dead_letters_come_in_pages_and_are_retried_together(start: Start, receiver: Receiver, other: Receiver) -> None:
    receiver.responder = other.responder = lambda _: (400, {})
    listener = start(sinks=[build_sink(receiver), build_sink(other, "other")])
    send(listener, *(f"t{number}" for number in range(5)))
    wait_until(
        lambda: read_metric(listener, "thingspace_outbox_dead_letters", "other") == 5,
        60,
        "the metrics count all dead letters",
    )
    create_dead_letters(listener, 5)
    seen: list[tuple[str, str]] = []
    page = request_json(listener, "/v1/dead-letters?limit=3")
    while page["deadLetters"]:
        seen += [(letter["message"]["id"], letter["sink"]) for letter in page["deadLetters"]]
        page = request_json(listener, f"/v1/dead-letters?limit=3&after={page['next']}")
    assert seen == [(str(number), name) for number in range(1, 6) for name in ("hub", "other")]
    assert len(request_json(listener, "/v1/dead-letters?sink=other")["deadLetters"]) == 5
    receiver.responder = other.responder = lambda _: (204, {})
    assert request_json(listener, "/v1/dead-letters/retry?sink=other", "POST") == {"retried": 5}
    other.wait(lambda there: len(there.accepted) == 5)
    assert request_json(listener, "/v1/dead-letters/retry", "POST") == {"retried": 5}
    receiver.wait(lambda there: len(there.accepted) == 5)


def test_dead_letters_and_entries_of_a_removed_sink_are_discarded(
    start: Start, receiver: Receiver, other: Receiver
) -> None:
    receiver.responder = lambda _: (400, {})
    other.down()
    listener = start(sinks=[build_sink(receiver), build_sink(other, "old")])
    send(listener, "one", "two")
    create_dead_letters(listener, 2)
    assert request_json(listener, "/v1/dead-letters/1/discard", "POST") == {"discarded": 1}
    assert request_json(listener, "/v1/dead-letters/1/retry", "POST", 404) == {"error": "message 1 is no dead letter"}
    assert json.loads(run(listener, "discard", "--all", "--json").stdout) == {"discarded": 1}
    rejected = run(listener, "discard", "--all", "--sink", "old")
    assert (rejected.exit_code, rejected.stderr.partition(",")[0]) == (1, "Error: old has no dead letters")
    listener.stop()
    listener = start(sinks=[build_sink(receiver)])
    assert run(listener, "discard", "--all").stdout == "0 discarded\n"
    assert read_metric(listener, "thingspace_outbox_pending", "old") == 2
    assert run(listener, "discard", "--all", "--sink", "old").stdout == "2 discarded\n"
    states = {
        delivery["sink"]: delivery["state"] for delivery in request_json(listener, "/v1/messages/2")["deliveries"]
    }
    assert states == {"hub": "discarded", "old": "discarded"}


def test_pending_entries_for_the_sink_of_another_replica_are_not_discarded(
    postgres: PostgresServer, receiver: Receiver, other: Receiver, tmp_path: Path
) -> None:
    database, both = postgres.create_database(), [build_sink(receiver), build_sink(other, "archive")]
    other.down()
    listeners = []
    try:
        for name, sinks in (("new", both), ("old", both[:1])):
            (tmp_path / name).mkdir()
            listeners.append(ListenerProcess(tmp_path / name, store=database, sinks=sinks))
        new, old = listeners
        send(new, "one", "two")
        wait_until(
            lambda: read_metric(new, "thingspace_deliveries_total", "archive", outcome="failed") > 0,
            60,
            "a delivery to the new sink fails",
        )
        assert request_json(old, "/v1/dead-letters/discard", "POST") == {"discarded": 0}
        error = request_json(old, "/v1/dead-letters/discard?sink=archive", "POST", 409)["error"]
        assert error.startswith("archive has no dead letters, and its 2 pending entries are not discarded")
        assert request_json(old, "/v1/dead-letters/1/discard?sink=archive", "POST", 404)
        other.up()
        other.wait_for("one", "two")

        other.down()
        send(new, "three")
        new.stop()
        with psycopg.connect(database) as connection:  # a minute later
            connection.execute(
                "UPDATE thingspace.coordination SET value = value - 61000000 WHERE name = 'heartbeat archive'"
            )
        assert request_json(old, "/v1/dead-letters/discard", "POST") == {"discarded": 0}
        assert request_json(old, "/v1/dead-letters/discard?sink=archive", "POST") == {"discarded": 1}
    finally:
        for listener in listeners:
            listener.kill()


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/messages/1", "GET"),
        ("/v1/dead-letters", "GET"),
        ("/v1/dead-letters/1/retry", "POST"),
        ("/v1/dead-letters/retry", "POST"),
        ("/v1/dead-letters/1/discard", "POST"),
        ("/v1/dead-letters/discard", "POST"),
    ],
)
def test_nothing_is_returned_or_changed_without_the_token(listener: ListenerProcess, path: str, method: str) -> None:
    assert listener.session.request(method, listener.url + path, timeout=10).status_code == 401


def test_invalid_parameters_of_dead_letters_are_named(listener: ListenerProcess) -> None:
    assert request_json(listener, "/v1/dead-letters?limit=0", status=400)["error"].startswith("limit must be")
    assert request_json(listener, "/v1/dead-letters?since=1", status=400)["error"].startswith(
        "since is not a parameter"
    )
    missing = request_json(listener, "/v1/dead-letters?sink=nowhere", status=404)
    assert missing == {"error": "there is no sink nowhere: known are none"}


def test_the_commands_show_a_delivery_history_and_dead_letters_and_retry_them(start: Start, receiver: Receiver) -> None:
    def refuse(received: ReceivedRequest) -> tuple[int, dict[str, str]]:
        return (204 if received.text == "good" else 422, {})

    receiver.responder = refuse
    listener = start(sinks=[build_sink(receiver)])
    assert run(listener, "dead-letters").stdout == "There are no dead letters.\n"
    send(listener, "good", "bad \x1b[2J", "worse")
    create_dead_letters(listener, 2)
    lines = run(listener, "dead-letters").stdout.splitlines()
    assert lines[0].split("  ")[0] == "ID"
    assert "the receiver responded with 422" in lines[1]
    assert lines[1].endswith(r"bad \x1b[2J")
    letters = json.loads(run(listener, "dead-letters", "--json").stdout)["deadLetters"]
    assert [letter["message"]["id"] for letter in letters] == ["2", "3"]
    history = run(listener, "show", "2").stdout
    assert "mdn 5551230002" in history
    assert "dead_letter" in history
    assert json.loads(run(listener, "show", "1", "--json").stdout)["deliveries"][0]["state"] == "delivered"
    missing = run(listener, "show", "99")
    assert (missing.exit_code, missing.stderr.startswith("Error: there is no message 99")) == (1, True)
    receiver.responder = lambda _: (204, {})
    assert json.loads(run(listener, "retry", "2", "--json").stdout) == {"retried": 1}
    assert run(listener, "retry", "--all", "--sink", "hub").stdout == "1 to be delivered again\n"
    receiver.wait_for("bad \x1b[2J", "worse")
    assert run(listener, "retry", "2").exit_code == 1
    assert run(listener, "retry").exit_code == 2
    assert "Give options behind `dead-letters`." in run(listener, "--json", "dead-letters").stderr
