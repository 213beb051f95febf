"""Guarantees of every store, on real databases. `base.py` describes them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import ACCOUNT, OTHER_ACCOUNT, build_text_callback
from tests.support.postgres_server import open_postgres_store
from tests.support.waiting import join_thread, wait_until
from thingspace_provider.listener.callback_parser import parse_body, parse_history_message, reparse
from thingspace_provider.listener.model import IncomingCallback, MessageQuery, OutboxEntry
from thingspace_provider.listener.store.base import DeadLettered, Delivered, Lease, RetryLater, Store
from thingspace_provider.listener.store.duplicates import MAX_CLOCK_SKEW_US, WINDOW_US, QueuedDuplicateFinder
from thingspace_provider.listener.store.sqlite.reader import SqliteReader
from thingspace_provider.listener.store.sqlite.store import SqliteStore
from thingspace_provider.listener.timestamps import parse_timestamp

Open = Callable[..., Store]
EVERYTHING = MessageQuery(limit=100_000)
LEASE_SECONDS = 30.0


@pytest.fixture(params=["sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Function that opens the store of this test, for sinks, with long timeouts for a busy machine."""
    opened: list[Store] = []
    url = request.getfixturevalue("postgres").create_database() if request.param == "postgresql" else ""

    def begin(*sinks: str) -> Store:
        store: Store = (
            open_postgres_store(url, *sinks, append_timeout_seconds=60)
            if url
            else SqliteStore(tmp_path / "inbox.sqlite3", sinks, write_lock_timeout_seconds=60)
        )
        opened.append(store)
        return store

    yield begin
    for store in opened:
        store.close()


def build_incoming_callback(
    message: str = "T=1", device: str = "1", at: int = 0, account: str = ACCOUNT, **more: Any
) -> IncomingCallback:
    return IncomingCallback(
        account, at, parse_body(json.dumps(build_text_callback(message, device, **more)).encode()).to_callback()
    )


def message_texts(entries: Lease | list[OutboxEntry] | tuple[OutboxEntry, ...]) -> list[str | None]:
    flattened = [entry for batch in entries.batches for entry in batch] if isinstance(entries, Lease) else entries
    return [entry.message.text for entry in flattened]


def acquire(
    store: Store, sink: str = "a", limit: int = 100, batch_size: int = 1, lease: float = LEASE_SECONDS
) -> Lease:
    return store.outbox.acquire(sink, limit, lease_seconds=lease, batch_size=batch_size)


def deliver_all(store: Store, sink: str = "a", batch_size: int = 1) -> list[str | None]:
    """Deliver everything that is due, and return each text in the order of delivery."""
    delivered: list[str | None] = []
    while (lease := acquire(store, sink, batch_size=batch_size)).batches:
        delivered += message_texts(lease)
        store.outbox.record_outcomes(lease, [Delivered(entry.message.id) for batch in lease.batches for entry in batch])
    return delivered


def test_a_stored_message_has_all_values_of_its_callback(open_store: Open) -> None:
    store = open_store()
    before = time.time_ns() // 1000
    message = build_incoming_callback(
        "Grüße\0 und 🌡 \ufffd", "89 Ä", 77, requestId="r\0ä", deviceIds=[{"id": "8\0 9Ä", "kind": "ICCID"}]
    )
    status_callback = build_incoming_callback(
        at=78, smsMessage=None, deviceResponse={"smsDeliveryResponse": {"confirmation": "Delivered"}}
    )
    store.append([message, status_callback._replace(trace_context='{"traceparent": "x"}')])
    first, second = store.find(EVERYTHING)
    assert (first.trace_context, second.trace_context) == (None, '{"traceparent": "x"}')
    assert (first.account, first.received_at, first.duplicate_of) == (ACCOUNT, 77, None)
    for stored, expected in ((first, message.callback), (second, status_callback.callback)):
        assert (stored.kind, stored.devices, stored.text) == (expected.kind, expected.devices, expected.text)
        assert (stored.request_id, stored.body) == (expected.request_id, expected.body)
    assert before <= first.stored_at <= time.time_ns() // 1000 + 5_000_000
    assert second.id > first.id


@pytest.mark.parametrize("message", ["caf\ufffd", "a\0b", {"a\0": 1}, ""])
def test_a_queued_message_is_stored_as_it_was_in_the_queue(open_store: Open, message: object) -> None:
    store = open_store()
    queued = parse_history_message(
        {"deviceIds": [{"kind": "mdn", "id": "1"}], "message": message, "timestamp": "2026-03-01T13:15:30Z"}
    )
    store.append([IncomingCallback(ACCOUNT, 0, queued)])
    (stored,) = store.find(EVERYTHING)
    assert (stored.kind, stored.text, stored.request_id, stored.body) == ("text", queued.text, None, queued.body)
    assert reparse(stored.kind, stored.body) == queued


def test_a_query_combines_all_its_conditions(open_store: Open) -> None:
    store = open_store()
    device_ids = [{"id": "89ABC", "kind": "ICCID"}, {"id": "89abc", "kind": "mdn"}, {"id": "7", "kind": "imei"}]
    store.append(
        [
            build_incoming_callback("Temp 21", "89aBc", 1000),
            build_incoming_callback("temp 22", "7", 2000),
            build_incoming_callback("temp 23", at=3000, deviceIds=device_ids),
            build_incoming_callback("50% _ off", "7", 1500, account=OTHER_ACCOUNT),
            build_incoming_callback("4", "8", at=5000, smsMessage=None),
        ]
    )
    first = store.find(EVERYTHING)[0].id

    def find_ids(**narrowed: Any) -> list[int]:
        return [stored.id - first for stored in store.find(MessageQuery(**{"limit": 100, **narrowed}))]

    assert find_ids() == [0, 1, 2, 3, 4]
    assert find_ids(limit=2) == [0, 1]
    assert find_ids(limit=2, newest=True) == [3, 4]
    assert find_ids(after=first + 1, before=first + 4) == [2, 3]
    assert find_ids(limit=2, newest=True, before=first + 3) == [1, 2]
    assert find_ids(account=OTHER_ACCOUNT) == [3]
    assert find_ids(account="\0") == find_ids(device="\0") == find_ids(contains="\0") == []
    assert find_ids(kind="text") == [0, 1, 2, 3]
    assert find_ids(device="89ABC") == [0, 2]
    assert find_ids(device="89ABC", newest=True, limit=1) == [2]
    assert find_ids(device="89ABC", device_kind="Iccid") == [2]
    assert find_ids(device="7", device_kind="iccid") == []
    assert find_ids(device="") == []
    assert find_ids(received_from=1500, received_until=3000) == [1, 2, 3]
    assert find_ids(received_from=3000) == [2, 4]
    assert find_ids(received_until=1000) == [0]
    assert find_ids(received_from=6000) == []
    assert store.count_by_time(MessageQuery(limit=1, received_from=1000), 1000) == {0: 2, 1: 1, 2: 1, 4: 1}
    assert find_ids(contains="TEMP 2") == [0, 1, 2]
    assert find_ids(contains="%") == [3]
    assert find_ids(contains="_ ") == [3]
    assert find_ids(device="7", contains="23", received_until=3000, account=ACCOUNT, kind="text", newest=True) == [2]


def test_no_callback_of_a_batch_is_stored_when_one_is_invalid(open_store: Open) -> None:
    store = open_store("a")
    no_account: Any = None  # rejected by the database
    invalid = IncomingCallback(no_account, 0, build_incoming_callback("2").callback)
    with pytest.raises(Exception, match=r"(?i)null"):
        store.append([build_incoming_callback("1"), invalid])
    assert store.find(EVERYTHING) == []
    store.append([build_incoming_callback("1")])
    assert store.find(EVERYTHING)[0].duplicate_of is None
    assert deliver_all(store) == ["1"]


def test_a_message_that_was_posted_and_queued_is_found_by_its_queue_time(open_store: Open) -> None:
    store = open_store()
    finder = QueuedDuplicateFinder(store.find)
    at = parse_timestamp("2026-03-01T08:15:30-05:00")
    both = [{"id": "1", "kind": "mdn"}, {"id": "2", "kind": "ICCID"}]
    store.append(
        [
            build_incoming_callback("a", at=at + 500_000, requestId="r"),
            build_incoming_callback("b\0", at=at, deviceIds=both),
            build_incoming_callback("b\0", at=at, deviceIds=both),
            build_incoming_callback("c", at=at - MAX_CLOCK_SKEW_US - 1),
            build_incoming_callback("c", at=at + WINDOW_US + 1, device="2"),
            build_incoming_callback("c", at=at, account=OTHER_ACCOUNT),
        ]
    )

    def store_queued(message: str, timestamp: str = "2026-03-01T13:15:30.0000Z", kind: str = "mdn") -> int | None:
        device = {"kind": kind, "id": "1"}
        message_callback = parse_history_message(
            {"deviceIds": [{"kind": "eid", "id": "9"}, device], "message": message, "timestamp": timestamp}
        )
        first = finder.find_original(ACCOUNT, message_callback)
        store.append([IncomingCallback(ACCOUNT, at + 100 * WINDOW_US, message_callback, first)])
        stored = store.find(EVERYTHING)
        assert stored[-1].duplicate_of == first
        return None if first is None else [stored_message.id for stored_message in stored].index(first)

    assert store_queued("a") == 0
    assert store_queued("a") == 0  # a history page that is read a second time
    assert store_queued("b\0") == 1
    assert store_queued("b\0", kind="msisdn") is None
    assert store_queued("c") is None
    assert store_queued("a", timestamp="2026-03-01T08:17:30-05:00") is None
    assert store_queued("a", timestamp="yesterday") is None


def test_equal_queued_messages_with_different_times_are_no_duplicates(open_store: Open) -> None:
    store = open_store()
    finder = QueuedDuplicateFinder(store.find)
    for second, message in enumerate(("T=1", "T=1")):
        timestamp = f"2026-03-01T13:15:3{second}Z"
        message_callback = parse_history_message(
            {"deviceIds": [{"kind": "mdn", "id": "1"}], "message": message, "timestamp": timestamp}
        )
        store.append(
            [
                IncomingCallback(
                    ACCOUNT,
                    parse_timestamp(timestamp),
                    message_callback,
                    finder.find_original(ACCOUNT, message_callback),
                )
            ]
        )
    assert [stored_message.duplicate_of for stored_message in store.find(EVERYTHING)] == [None, None]


def test_a_posted_message_matches_one_queued_message_when_several_are_equal(open_store: Open) -> None:
    store = open_store()
    finder = QueuedDuplicateFinder(store.find)
    begin = parse_timestamp("2026-03-01T13:15:00Z")
    store.append([build_incoming_callback("OK", at=begin + second * 1_000_000) for second in (0, 15, 19, 30)])
    first = store.find(EVERYTHING)[0].id

    def find_original(second: int) -> int | None:
        body = {"deviceIds": [{"kind": "mdn", "id": "1"}], "message": "OK", "timestamp": f"2026-03-01T13:15:{second}Z"}
        return finder.find_original(ACCOUNT, parse_history_message(body))

    assert find_original(14) == first, "posted at 15 s, where it is a duplicate itself, and at 19 s"
    assert find_original(29) == first
    assert find_original(14) == first, "a history page that is read a second time"
    assert find_original(16) is None, "the message posted at 0 s is too old, the others are matched"
    assert find_original(10) == first
    assert find_original(11) is None


def test_duplicates_name_the_first_message_of_the_window_or_of_the_request(open_store: Open) -> None:
    store = open_store()
    store.append(
        [
            build_incoming_callback(at=0),
            build_incoming_callback(at=1),
            build_incoming_callback(at=2, requestId="r"),
            build_incoming_callback("other", at=2),
        ]
    )
    store.append(
        [
            build_incoming_callback(at=WINDOW_US),
            build_incoming_callback(at=WINDOW_US + 1),
            build_incoming_callback(at=WINDOW_US + 2),
            build_incoming_callback(at=0, account="b"),
        ]
    )
    store.close()
    store = open_store()
    store.append(
        [
            build_incoming_callback(at=2 * WINDOW_US),
            build_incoming_callback("later", at=9 * WINDOW_US, requestId="r"),
            build_incoming_callback(at=9 * WINDOW_US),
        ]
    )
    stored = store.find(EVERYTHING)
    numbers = [message.id for message in stored]
    marks = [message.duplicate_of and numbers.index(message.duplicate_of) for message in stored]
    assert marks == [None, 0, None, None, 0, None, 5, None, 5, 2, None]


def test_each_sink_gets_the_messages_stored_after_it_was_named(open_store: Open) -> None:
    store = open_store()
    store.append([build_incoming_callback("before")])
    store.close()
    store = open_store("a")
    store.append([build_incoming_callback("1"), build_incoming_callback("2", smsMessage=None)])
    store.close()
    store = open_store("a", "b")
    store.append([build_incoming_callback("3", "2")])
    assert deliver_all(store, "b") == ["3"]
    assert deliver_all(store, "a") == ["1", "3", None]
    assert deliver_all(store, "a") == []


def test_a_message_is_leased_after_the_older_messages_of_its_device_only(open_store: Open) -> None:
    store = open_store("a")
    store.append(
        [build_incoming_callback("1a", "1"), build_incoming_callback("2a", "2"), build_incoming_callback("1b", "1")]
    )
    store.append([build_incoming_callback("1c", "1"), build_incoming_callback("1x", "1", account=OTHER_ACCOUNT)])
    lease = acquire(store)
    assert message_texts(lease) == ["1a", "2a", "1x"]
    assert acquire(store).batches == ()
    ids = {entry.message.text: entry.message.id for batch in lease.batches for entry in batch}
    store.outbox.record_outcomes(
        lease, [RetryLater(ids["1a"], "HTTP 500", LEASE_SECONDS), Delivered(ids["2a"]), Delivered(ids["1x"])]
    )
    store.append([build_incoming_callback("2b", "2"), build_incoming_callback("1d", "1")])
    assert deliver_all(store) == ["2b"]


def test_a_device_is_in_order_when_messages_have_different_identifiers_of_it(open_store: Open) -> None:
    store = open_store("a")
    number, card = {"id": "1", "kind": "mdn"}, {"id": "89148", "kind": "iccid"}
    named = {"1": [card, number], "2": [number], "3": [number, card]}
    store.append([build_incoming_callback(message, deviceIds=devices) for message, devices in named.items()])
    lease = acquire(store)
    assert message_texts(lease) == ["1"]
    store.outbox.record_outcomes(lease, [RetryLater(lease.batches[0][0].message.id, "HTTP 500", 0.0)])
    assert deliver_all(store) == ["1", "2", "3"]


def test_a_failed_entry_is_leased_again_after_its_delay_before_later_entries(open_store: Open) -> None:
    store = open_store("a")
    store.append([build_incoming_callback("1"), build_incoming_callback("2")])
    for attempts in range(3):
        lease = acquire(store)
        [[entry]] = lease.batches
        assert (entry.message.text, entry.delivery.attempts) == ("1", attempts)
        assert entry.delivery.last_error == (f"HTTP 50{attempts - 1}" if attempts else None)
        store.outbox.record_outcomes(lease, [RetryLater(entry.message.id, f"HTTP 50{attempts}", 0.0)])
    store.outbox.record_outcomes(acquire(store), [])  # given back
    assert deliver_all(store) == ["1", "2"]


def test_batches_hold_one_device_and_are_short_while_many_devices_wait(open_store: Open) -> None:
    store = open_store("a")
    store.append([build_incoming_callback(f"{device}{number}", device) for number in range(4) for device in ("1", "2")])
    lease = acquire(store, limit=5, batch_size=10)
    assert [message_texts(batch) for batch in lease.batches] == [["10", "11"], ["20", "21"]]
    store.outbox.record_outcomes(lease, [])
    lease = acquire(store, limit=100, batch_size=3)
    assert [message_texts(batch) for batch in lease.batches] == [["10", "11", "12"], ["20", "21", "22"]]
    first, second = lease.batches
    store.outbox.record_outcomes(
        lease,
        [
            Delivered(first[0].message.id),
            RetryLater(first[1].message.id, "no", LEASE_SECONDS),
            RetryLater(first[2].message.id, "not counted: an earlier entry failed", 0.0),
            DeadLettered(second[0].message.id, "HTTP 410"),
            Delivered(second[1].message.id),
        ],
    )
    assert deliver_all(store, batch_size=10) == ["22", "23"]
    states = [
        history.deliveries[0]
        for number in (2, 4, 6)
        if (history := store.delivery_history(first[0].message.id + number))
    ]
    assert [(delivery.state, delivery.attempts, delivery.last_error) for delivery in states] == [
        ("pending", 1, "no"),
        ("pending", 0, None),
        ("pending", 0, None),
    ]


def test_the_outcome_of_a_batch_is_recorded_without_waiting_for_the_others_of_its_lease(open_store: Open) -> None:
    store = open_store("a")
    store.append([build_incoming_callback(f"{device}{number}", device) for number in (1, 2) for device in "xyz"])
    lease = acquire(store)
    index = message_texts(lease).index("y1")
    store.outbox.record_outcomes(lease.subset(index), [Delivered(lease.batches[index][0].message.id)])
    assert message_texts(acquire(store)) == ["y2"]
    store.outbox.record_outcomes(lease.subset(*(other for other in range(3) if other != index)), [])
    assert sorted(str(message) for message in message_texts(acquire(store))) == ["x1", "z1"]


def test_an_expired_lease_is_released_and_late_outcomes_are_ignored(open_store: Open) -> None:
    store = open_store("a")
    store.append([build_incoming_callback("1"), build_incoming_callback("2")])
    slow = acquire(store, batch_size=2, lease=0.05)
    leases: list[Lease] = []

    def has_acquired() -> bool:
        leases.append(acquire(store, batch_size=2))
        return bool(leases[-1].batches)

    wait_until(has_acquired, 10, "the lease expires")
    lease = leases[-1]
    assert message_texts(lease) == ["1", "2"]
    store.outbox.record_outcomes(slow, [Delivered(entry.message.id) for entry in slow.batches[0]])
    assert acquire(store).batches == ()
    [backlog] = store.outbox.backlogs()
    assert backlog.pending == 2
    store.outbox.record_outcomes(lease, [Delivered(entry.message.id) for entry in lease.batches[0]])
    [backlog] = store.outbox.backlogs()
    assert backlog.pending == 0


def test_devices_are_found_before_and_after_they_are_indexed_and_across_a_restart(tmp_path: Path) -> None:
    """SQLite only, which indexes the devices of 1,000 messages at once."""
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    for part in range(3):
        store.append(
            [build_incoming_callback(str(number), f"a{number % 7}", number + 900 * part) for number in range(900)]
        )
        expected = [number + 1 for number in range(900 * (part + 1)) if number % 900 % 7 == 3]
        for _ in range(2):
            assert [message.id for message in store.find(MessageQuery(limit=9999, device="A3"))] == expected
            store.run_maintenance()
        store.close()
        store = SqliteStore(tmp_path / "inbox.sqlite3")
    assert store.purge(received_before=10**9, limit=9999).purged == 2700
    assert store.find(MessageQuery(limit=9999, device="a3")) == []
    store.close()


def test_the_duplicate_window_is_reloaded_after_a_start_before_the_next_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite only, which keeps the window in memory. After a load peak, it takes long to reload."""
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    store.append([build_incoming_callback(str(number), at=number) for number in range(1200)])
    store.close()
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    store.run_maintenance()
    with monkeypatch.context() as patched:
        patched.setattr(SqliteReader, "fetch_rows", lambda *_: pytest.fail("the window is reloaded"))
        store.append([build_incoming_callback(str(number), at=2000) for number in (0, 1199, 1200)])
    assert [message.duplicate_of for message in store.find(EVERYTHING)[-3:]] == [1, 1200, None]
    store.close()


def test_the_duplicate_window_is_not_reloaded_for_each_message_with_a_request_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite only. An empty window is not an unknown one."""
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    store.append([build_incoming_callback(at=0, requestId="r")])
    with monkeypatch.context() as patched:
        patched.setattr(SqliteReader, "fetch_rows", lambda *_: pytest.fail("the window is reloaded"))
        store.append([build_incoming_callback(at=1, requestId="r"), build_incoming_callback(at=1, requestId="s")])
    assert [message.duplicate_of for message in store.find(EVERYTHING)] == [None, 1, None]
    store.close()


def test_leased_and_delayed_entries_are_due_at_the_next_start(tmp_path: Path) -> None:
    """SQLite only: PostgreSQL can have replicas that deliver the entries."""
    store = SqliteStore(tmp_path / "inbox.sqlite3", ["a"])
    store.append([build_incoming_callback("1"), build_incoming_callback("2", "2"), build_incoming_callback("1b")])
    lease = acquire(store)
    store.outbox.record_outcomes(lease, [RetryLater(lease.batches[0][0].message.id, "no", LEASE_SECONDS)])
    assert message_texts(acquire(store)) == ["2"]
    store.close()
    store = SqliteStore(tmp_path / "inbox.sqlite3", ["a"])
    assert message_texts(acquire(store)) == ["1", "2"]
    store.close()


def test_dead_letters_block_no_other_entry_and_can_be_listed_retried_and_discarded(open_store: Open) -> None:
    store = open_store("a", "b")
    store.append(
        [
            build_incoming_callback("1"),
            build_incoming_callback("2"),
            build_incoming_callback("3", "2"),
            build_incoming_callback("4"),
        ]
    )
    lease = acquire(store, batch_size=2)
    entries = [entry for batch in lease.batches for entry in batch]
    store.outbox.record_outcomes(lease, [DeadLettered(entry.message.id, "HTTP 410") for entry in entries])
    lease = acquire(store)
    assert message_texts(lease) == ["4"]
    letters = store.outbox.dead_letters("a", 2)
    assert message_texts(letters) == ["1", "2"]
    assert (letters[0].delivery.last_error, letters[0].delivery.attempts) == ("HTTP 410", 1)
    assert message_texts(store.outbox.dead_letters("a", 2, after=letters[-1].message.id)) == ["3"]
    assert store.outbox.dead_letters("b", 10) == []
    assert store.outbox.retry("a", [letters[1].message.id, 999]) == 1
    assert acquire(store).batches == (), "4 of the same device is leased"
    store.outbox.record_outcomes(lease, [Delivered(lease.batches[0][0].message.id)])
    assert deliver_all(store) == ["2"]
    assert store.outbox.retry("a", [letters[0].message.id]) == 1
    assert deliver_all(store) == ["1"]
    assert store.outbox.discard("a") == 1
    assert (store.outbox.retry("a"), store.outbox.dead_letters("a", 10), deliver_all(store)) == (0, [], [])


def test_thousands_of_dead_letters_are_retried_in_the_order_of_their_devices(open_store: Open) -> None:
    store = open_store("a")
    store.append([build_incoming_callback(str(number), str(number % 7), number) for number in range(1500)])
    while (lease := acquire(store, limit=1000, batch_size=1000)).batches:
        store.outbox.record_outcomes(
            lease, [DeadLettered(entry.message.id, "HTTP 410") for batch in lease.batches for entry in batch]
        )
    assert store.outbox.retry("a") == 1500
    delivered = deliver_all(store, batch_size=50)
    assert len(delivered) == 1500
    for device in range(7):
        assert [int(message or "") for message in delivered if int(message or "") % 7 == device] == list(
            range(device, 1500, 7)
        )


def test_backlogs_count_pending_entries_their_age_and_dead_letters(open_store: Open) -> None:
    store = open_store("a", "b")
    assert [
        (backlog.sink, backlog.pending, backlog.oldest_received_at, backlog.dead_letters)
        for backlog in store.outbox.backlogs()
    ] == [
        ("a", 0, None, 0),
        ("b", 0, None, 0),
    ]
    store.append(
        [
            build_incoming_callback("1", at=10),
            build_incoming_callback("2", "2", at=20),
            build_incoming_callback("3", at=30),
        ]
    )
    lease = acquire(store)
    store.outbox.record_outcomes(
        lease, [DeadLettered(lease.batches[0][0].message.id, "no"), Delivered(lease.batches[1][0].message.id)]
    )
    store.close()
    store = open_store("a")
    backlogs = {
        backlog.sink: (backlog.pending, backlog.oldest_received_at, backlog.dead_letters)
        for backlog in store.outbox.backlogs()
    }
    assert backlogs == {"a": (1, 30, 1), "b": (3, 10, 0)}
    assert (store.outbox.has_active_listener("a"), store.outbox.has_active_listener("b")) == (True, False)
    assert store.outbox.discard("b") == 0, "a pending entry is no dead letter"
    assert store.outbox.discard("b", include_pending=True) == 3
    assert [backlog.sink for backlog in store.outbox.backlogs()] == ["a"]


def test_a_delivery_history_has_attempts_and_next_attempt_of_every_sink(open_store: Open) -> None:
    store = open_store("a", "b", "c")
    store.append([build_incoming_callback("1", at=10), build_incoming_callback("2", at=11)])
    number = store.find(EVERYTHING)[0].id
    store.outbox.record_outcomes(acquire(store, "a"), [Delivered(number)])
    store.outbox.record_outcomes(acquire(store, "b"), [RetryLater(number, "HTTP 503", 60.0)])
    history = store.delivery_history(number)
    assert history is not None
    assert (history.message.text, history.message.received_at) == ("1", 10)
    a, b, c = history.deliveries
    assert (a.sink, a.state, a.attempts, a.last_error, a.next_attempt_at) == ("a", "delivered", 1, None, None)
    assert (b.sink, b.state, b.attempts, b.last_error) == ("b", "pending", 1, "HTTP 503")
    assert a.updated_at is not None
    assert b.updated_at is not None
    assert b.next_attempt_at is not None
    assert abs(b.next_attempt_at - b.updated_at - 60_000_000) < 1_000_000
    assert (c.sink, c.state, c.attempts, c.updated_at, c.next_attempt_at) == ("c", "pending", 0, None, 0)
    later = store.delivery_history(number + 1)
    assert later is not None
    assert [delivery.next_attempt_at for delivery in later.deliveries] == [0, None, None]
    assert store.delivery_history(number + 2) is None


def test_only_old_messages_without_pending_entries_are_purged_and_no_id_is_reused(open_store: Open) -> None:
    store = open_store("a")
    store.append([build_incoming_callback(str(number), str(number), number) for number in range(6)])
    first = store.find(EVERYTHING)[0].id
    lease = acquire(store)
    delivered = [Delivered(first + number) for number in range(2, 6)]
    store.outbox.record_outcomes(lease, [DeadLettered(first, "no"), RetryLater(first + 1, "no", 60.0), *delivered])
    result = store.purge(received_before=5, limit=2)
    assert (result.purged, result.after) == (0, (1, first + 1))
    result = store.purge(received_before=5, limit=2, after=(1, first + 1))
    assert (result.purged, result.after) == (2, (3, first + 3))
    result = store.purge(received_before=5, limit=3, after=(3, first + 3))
    assert (result.purged, result.after) == (1, None)
    assert [message.id - first for message in store.find(EVERYTHING)] == [0, 1, 5]
    assert store.find(MessageQuery(limit=9, device="2")) == []
    assert store.delivery_history(first + 2) is None
    assert store.outbox.discard("a") == 1
    store.outbox.record_outcomes(lease, [])
    assert store.purge(received_before=9, limit=10).purged == 2
    store.close()
    store = open_store()
    store.append([build_incoming_callback("new", at=100)])
    assert store.find(EVERYTHING)[-1].id > first + 5


def test_leases_in_many_threads_never_overlap_and_keep_the_order(open_store: Open) -> None:
    store = open_store("a")
    devices, messages_per_device = 12, 30
    seen: list[tuple[int, int]] = []
    leased: set[int] = set()
    duplicates: list[int] = []
    guard = threading.Lock()
    appended = threading.Event()

    def append() -> None:
        try:
            for number in range(messages_per_device):
                store.append([build_incoming_callback(str(number), str(device), number) for device in range(devices)])
        finally:
            appended.set()

    def forward() -> None:
        while not appended.is_set() or any(backlog.pending for backlog in store.outbox.backlogs()):
            lease = acquire(store, limit=10, batch_size=4)
            mine = [(int(entry.message.devices[0].id), entry.message.id) for batch in lease.batches for entry in batch]
            with guard:
                duplicates.extend(device for device in {device for device, _ in mine} if device in leased)
                leased.update(device for device, _ in mine)
                seen.extend(mine)
            with guard:
                leased.difference_update(device for device, _ in mine)
            store.outbox.record_outcomes(lease, [Delivered(number) for _, number in mine])

    threads = [threading.Thread(target=work, daemon=True) for work in (append, *[forward] * 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join_thread(thread)
    assert duplicates == []
    assert len(seen) == len({number for _, number in seen}) == devices * messages_per_device
    for device in range(devices):
        numbers = [number for of, number in seen if of == device]
        assert numbers == sorted(numbers)


def test_messages_received_while_a_clock_was_ahead_do_not_block_the_purge_of_later_ones(open_store: Open) -> None:
    store = open_store()
    receive_times = [*range(1000, 1005), 2, 1, 2, 1000, 1]
    store.append(
        [build_incoming_callback(str(index), str(index), received) for index, received in enumerate(receive_times)]
    )
    first = store.find(EVERYTHING)[0].id
    result = store.purge(received_before=10, limit=3)
    assert (result.purged, result.after) == (3, (2, first + 5))
    result = store.purge(received_before=10, limit=3, after=(2, first + 5))
    assert (result.purged, result.after) == (1, None)
    assert [message.received_at for message in store.find(EVERYTHING)] == [*range(1000, 1005), 1000]
