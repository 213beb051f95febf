"""What every store promises, on real databases; see the docstring of `store.py`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import ACCOUNT, OTHER_ACCOUNT, text
from thingspace_provider.listener.callback_parser import queued, read, reread
from thingspace_provider.listener.store.base import Arrival, Claim, Dead, Delivered, Failed, Parcel, Selection, Store
from thingspace_provider.listener.store.duplicates import AHEAD, WINDOW, Posted
from thingspace_provider.listener.store.postgres import store as postgres_store
from thingspace_provider.listener.store.postgres.store import PostgresStore
from thingspace_provider.listener.store.sqlite import writer
from thingspace_provider.listener.store.sqlite.reader import Reader
from thingspace_provider.listener.store.sqlite.store import SqliteStore
from thingspace_provider.listener.timestamps import microseconds

Open = Callable[..., Store]
EVERYTHING = Selection(limit=100_000)
LEASE = 30.0


@pytest.fixture(params=["sqlite", "postgresql"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the store of this test, for sinks; again after a `close`. It has time: nobody waits for an answer."""
    monkeypatch.setattr(writer, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(postgres_store, "APPEND_SECONDS", 60.0)
    opened: list[Store] = []
    url = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""

    def begin(*sinks: str) -> Store:
        store = PostgresStore(url, "shown", sinks) if url else SqliteStore(tmp_path / "inbox.sqlite3", sinks)
        opened.append(store)
        return store

    yield begin
    for store in opened:
        store.close()


def arrival(message: str = "T=1", device: str = "1", at: int = 0, account: str = ACCOUNT, **more: Any) -> Arrival:
    return Arrival(account, at, read(json.dumps(text(message, device, **more)).encode()).callback())


def texts(parcels: Claim | list[Parcel] | tuple[Parcel, ...]) -> list[str | None]:
    found = [parcel for run in parcels.runs for parcel in run] if isinstance(parcels, Claim) else parcels
    return [parcel.stored.text for parcel in found]


def take(store: Store, sink: str = "a", limit: int = 100, run: int = 1, lease: float = LEASE) -> Claim:
    return store.outbox.take(sink, limit, lease=lease, run=run)


def deliver_all(store: Store, sink: str = "a", run: int = 1) -> list[str | None]:
    """Everything that is due now, in the order of delivery."""
    found: list[str | None] = []
    while (claim := take(store, sink, run=run)).runs:
        found += texts(claim)
        store.outbox.report(claim, [Delivered(parcel.stored.id) for taken in claim.runs for parcel in taken])
    return found


def test_what_is_stored_is_read_as_it_came(open_store: Open) -> None:
    store = open_store()
    before = time.time_ns() // 1000
    came = arrival("Grüße\0 und 🌡 \ufffd", "89 Ä", 77, requestId="r\0ä", deviceIds=[{"id": "8\0 9Ä", "kind": "ICCID"}])
    notice = arrival(at=78, smsMessage=None, deviceResponse={"smsDeliveryResponse": {"confirmation": "Delivered"}})
    store.append([came, notice])
    first, second = store.read(EVERYTHING)
    assert (first.account, first.received, first.duplicate_of) == (ACCOUNT, 77, None)
    for stored, expected in ((first, came.callback), (second, notice.callback)):
        assert (stored.kind, stored.devices, stored.text) == (expected.kind, expected.devices, expected.text)
        assert (stored.request_id, stored.raw) == (expected.request_id, expected.raw)
    assert first.stored is not None
    assert before <= first.stored <= time.time_ns() // 1000 + 5_000_000
    assert second.id > first.id


@pytest.mark.parametrize("message", ["caf\ufffd", "a\0b", {"a\0": 1}, ""])
def test_a_text_out_of_the_queue_is_read_as_it_was_there(open_store: Open, message: object) -> None:
    store = open_store()
    came = queued({"deviceIds": [{"kind": "mdn", "id": "1"}], "message": message, "timestamp": "2026-03-01T13:15:30Z"})
    store.append([Arrival(ACCOUNT, 0, came)])
    (stored,) = store.read(EVERYTHING)
    assert (stored.kind, stored.text, stored.request_id, stored.raw) == ("text", came.text, None, came.raw)
    assert reread(stored.kind, stored.raw) == came


def test_a_selection_narrows_by_everything_it_names(open_store: Open) -> None:
    store = open_store()
    several = [{"id": "89ABC", "kind": "ICCID"}, {"id": "89abc", "kind": "mdn"}, {"id": "7", "kind": "imei"}]
    store.append(
        [
            arrival("Temp 21", "89aBc", 1000),
            arrival("temp 22", "7", 2000),
            arrival("temp 23", at=3000, deviceIds=several),
            arrival("50% _ off", "7", 1500, account=OTHER_ACCOUNT),
            arrival("4", "8", at=5000, smsMessage=None),
        ]
    )
    first = store.read(EVERYTHING)[0].id

    def found(**narrowed: Any) -> list[int]:
        return [stored.id - first for stored in store.read(Selection(**{"limit": 100, **narrowed}))]

    assert found() == [0, 1, 2, 3, 4]
    assert found(limit=2) == [0, 1]
    assert found(limit=2, last=True) == [3, 4]
    assert found(after=first + 1, before=first + 4) == [2, 3]
    assert found(limit=2, last=True, before=first + 3) == [1, 2]
    assert found(account=OTHER_ACCOUNT) == [3]
    assert found(account="\0") == found(device="\0") == found(contains="\0") == []
    assert found(kind="text") == [0, 1, 2, 3]
    assert found(device="89ABC") == [0, 2]
    assert found(device="89ABC", last=True, limit=1) == [2]
    assert found(device="89ABC", device_kind="Iccid") == [2]
    assert found(device="7", device_kind="iccid") == []
    assert found(device="") == []
    assert found(received_from=1500, received_until=3000) == [1, 2, 3]
    assert found(received_from=3000) == [2, 4]
    assert found(received_until=1000) == [0]
    assert found(received_from=6000) == []
    assert found(contains="TEMP 2") == [0, 1, 2]
    assert found(contains="%") == [3]
    assert found(contains="_ ") == [3]
    assert found(device="7", contains="23", received_until=3000, account=ACCOUNT, kind="text", last=True) == [2]


def test_a_batch_that_cannot_be_stored_is_not_stored_in_part(open_store: Open) -> None:
    store = open_store("a")
    wrong = arrival("2")
    nameless: Any = None  # which the database refuses
    broken = Arrival(nameless, 0, wrong.callback)
    with pytest.raises(Exception, match=r"(?i)null"):
        store.append([arrival("1"), broken])
    assert store.read(EVERYTHING) == []
    store.append([arrival("1")])
    assert store.read(EVERYTHING)[0].duplicate_of is None
    assert deliver_all(store) == ["1"]


def test_a_text_that_was_posted_and_queued_all_the_same_is_known_by_its_time(open_store: Open) -> None:
    store = open_store()
    posted = Posted(store.read)
    at = microseconds("2026-03-01T08:15:30-05:00")
    both = [{"id": "1", "kind": "mdn"}, {"id": "2", "kind": "ICCID"}]
    store.append(
        [
            arrival("a", at=at + 500_000, requestId="r"),
            arrival("b\0", at=at, deviceIds=both),
            arrival("b\0", at=at, deviceIds=both),
            arrival("c", at=at - AHEAD - 1),
            arrival("c", at=at + WINDOW + 1, device="2"),
            arrival("c", at=at, account=OTHER_ACCOUNT),
        ]
    )

    def again(message: str, timestamp: str = "2026-03-01T13:15:30.0000Z", kind: str = "mdn") -> int | None:
        device = {"kind": kind, "id": "1"}
        text = queued({"deviceIds": [{"kind": "eid", "id": "9"}, device], "message": message, "timestamp": timestamp})
        first = posted.first(ACCOUNT, text)
        store.append([Arrival(ACCOUNT, at + 100 * WINDOW, text, first)])
        stored = store.read(EVERYTHING)
        assert stored[-1].duplicate_of == first
        return None if first is None else [one.id for one in stored].index(first)

    assert again("a") == 0
    assert again("a") == 0  # a block that is read twice
    assert again("b\0") == 1
    assert again("b\0", kind="msisdn") is None
    assert again("c") is None
    assert again("a", timestamp="2026-03-01T08:17:30-05:00") is None
    assert again("a", timestamp="yesterday") is None


def test_equal_texts_out_of_the_queue_with_times_of_their_own_are_different(open_store: Open) -> None:
    store = open_store()
    posted = Posted(store.read)
    for second, message in enumerate(("T=1", "T=1")):
        timestamp = f"2026-03-01T13:15:3{second}Z"
        text = queued({"deviceIds": [{"kind": "mdn", "id": "1"}], "message": message, "timestamp": timestamp})
        store.append([Arrival(ACCOUNT, microseconds(timestamp), text, posted.first(ACCOUNT, text))])
    assert [one.duplicate_of for one in store.read(EVERYTHING)] == [None, None]


def test_what_was_posted_accounts_for_one_queued_text_also_when_it_repeats_another(open_store: Open) -> None:
    store = open_store()
    posted = Posted(store.read)
    begin = microseconds("2026-03-01T13:15:00Z")
    store.append([arrival("OK", at=begin + second * 1_000_000) for second in (0, 15, 19, 30)])
    first = store.read(EVERYTHING)[0].id

    def repeats(second: int) -> int | None:
        text = {"deviceIds": [{"kind": "mdn", "id": "1"}], "message": "OK", "timestamp": f"2026-03-01T13:15:{second}Z"}
        return posted.first(ACCOUNT, queued(text))

    assert repeats(14) == first, "posted at 15 s, and marked as a repetition itself; at 19 s once more"
    assert repeats(29) == first
    assert repeats(14) == first, "of a block that is read twice"
    assert repeats(16) is None, "what was posted at 0 s is too old, the others are accounted for"
    assert repeats(10) == first
    assert repeats(11) is None


def test_copies_name_the_first_of_a_minute_or_of_a_request(open_store: Open) -> None:
    store = open_store()
    store.append([arrival(at=0), arrival(at=1), arrival(at=2, requestId="r"), arrival("other", at=2)])
    store.append([arrival(at=WINDOW), arrival(at=WINDOW + 1), arrival(at=WINDOW + 2), arrival(at=0, account="b")])
    store.close()
    store = open_store()
    store.append([arrival(at=2 * WINDOW), arrival("later", at=9 * WINDOW, requestId="r"), arrival(at=9 * WINDOW)])
    stored = store.read(EVERYTHING)
    numbers = [one.id for one in stored]
    marks = [None if one.duplicate_of is None else numbers.index(one.duplicate_of) for one in stored]
    assert marks == [None, 0, None, None, 0, None, 5, None, 5, 2, None]


def test_sinks_get_what_is_stored_after_they_were_named_each_for_itself(open_store: Open) -> None:
    store = open_store()
    store.append([arrival("before")])
    store.close()
    store = open_store("a")
    store.append([arrival("1"), arrival("2", smsMessage=None)])
    store.close()
    store = open_store("a", "b")
    store.append([arrival("3", "2")])
    assert deliver_all(store, "b") == ["3"]
    assert deliver_all(store, "a") == ["1", "3", None]
    assert deliver_all(store, "a") == []


def test_one_device_gets_its_turn_after_its_older_texts_only(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival("1a", "1"), arrival("2a", "2"), arrival("1b", "1")])
    store.append([arrival("1c", "1"), arrival("1x", "1", account=OTHER_ACCOUNT)])
    claim = take(store)
    assert texts(claim) == ["1a", "2a", "1x"]
    assert take(store).runs == ()
    ids = {parcel.stored.text: parcel.stored.id for run in claim.runs for parcel in run}
    store.outbox.report(claim, [Failed(ids["1a"], "HTTP 500", LEASE), Delivered(ids["2a"]), Delivered(ids["1x"])])
    store.append([arrival("2b", "2"), arrival("1d", "1")])
    assert deliver_all(store) == ["2b"]


def test_a_device_is_in_order_whichever_of_its_identifiers_a_text_names(open_store: Open) -> None:
    store = open_store("a")
    number, card = {"id": "1", "kind": "mdn"}, {"id": "89148", "kind": "iccid"}
    named = {"1": [card, number], "2": [number], "3": [number, card]}
    store.append([arrival(message, deviceIds=devices) for message, devices in named.items()])
    claim = take(store)
    assert texts(claim) == ["1"]
    store.outbox.report(claim, [Failed(claim.runs[0][0].stored.id, "HTTP 500", 0.0)])
    assert deliver_all(store) == ["1", "2", "3"]


def test_a_failed_one_comes_again_after_its_wait_with_its_attempts_and_then_those_behind_it(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival("1"), arrival("2")])
    for attempts in range(3):
        claim = take(store)
        [[parcel]] = claim.runs
        assert (parcel.stored.text, parcel.delivery.attempts) == ("1", attempts)
        assert parcel.delivery.reason == (f"HTTP 50{attempts - 1}" if attempts else None)
        store.outbox.report(claim, [Failed(parcel.stored.id, f"HTTP 50{attempts}", 0.0)])
    store.outbox.report(take(store), [])  # given back
    assert deliver_all(store) == ["1", "2"]


def test_runs_follow_one_device_and_are_short_while_many_devices_wait(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival(f"{device}{number}", device) for number in range(4) for device in ("1", "2")])
    claim = take(store, limit=5, run=10)
    assert [texts(run) for run in claim.runs] == [["10", "11"], ["20", "21"]]
    store.outbox.report(claim, [])
    claim = take(store, limit=100, run=3)
    assert [texts(run) for run in claim.runs] == [["10", "11", "12"], ["20", "21", "22"]]
    first, second = claim.runs
    store.outbox.report(
        claim,
        [
            Delivered(first[0].stored.id),
            Failed(first[1].stored.id, "no", LEASE),
            Failed(first[2].stored.id, "not counted: the one before it failed", 0.0),
            Dead(second[0].stored.id, "HTTP 410"),
            Delivered(second[1].stored.id),
        ],
    )
    assert deliver_all(store, run=10) == ["22", "23"]
    states = [journey.deliveries[0] for number in (2, 4, 6) if (journey := store.journey(first[0].stored.id + number))]
    assert [(one.state, one.attempts, one.reason) for one in states] == [
        ("waiting", 1, "no"),
        ("waiting", 0, None),
        ("waiting", 0, None),
    ]


def test_a_run_is_reported_without_waiting_for_the_others_of_its_claim(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival(f"{device}{number}", device) for number in (1, 2) for device in "xyz"])
    claim = take(store)
    place = texts(claim).index("y1")
    store.outbox.report(claim.only(place), [Delivered(claim.runs[place][0].stored.id)])
    assert texts(take(store)) == ["y2"]
    store.outbox.report(claim.only(*(other for other in range(3) if other != place)), [])
    assert sorted(str(text) for text in texts(take(store))) == ["x1", "z1"]


def test_what_was_taken_and_never_reported_comes_free_and_the_late_report_is_ignored(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival("1"), arrival("2")])
    slow = take(store, run=2, lease=0.05)
    deadline = time.monotonic() + 10
    while not (claim := take(store, run=2)).runs:
        assert time.monotonic() < deadline
    assert texts(claim) == ["1", "2"]
    store.outbox.report(slow, [Delivered(parcel.stored.id) for parcel in slow.runs[0]])
    assert take(store).runs == ()
    [backlog] = store.outbox.backlogs()
    assert backlog.waiting == 2
    store.outbox.report(claim, [Delivered(parcel.stored.id) for parcel in claim.runs[0]])
    [backlog] = store.outbox.backlogs()
    assert backlog.waiting == 0


def test_devices_are_found_before_and_after_they_are_noted_and_across_a_restart(tmp_path: Path) -> None:
    """SQLite's alone, which notes the devices of a thousand callbacks at once."""
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    for part in range(3):
        store.append([arrival(str(number), f"a{number % 7}", number + 900 * part) for number in range(900)])
        expected = [number + 1 for number in range(900 * (part + 1)) if number % 900 % 7 == 3]
        for _ in range(2):
            assert [one.id for one in store.read(Selection(limit=9999, device="A3"))] == expected
            store.tidy()
        store.close()
        store = SqliteStore(tmp_path / "inbox.sqlite3")
    assert store.remove(received_before=10**9, limit=9999).removed == 2700
    assert store.read(Selection(limit=9999, device="a3")) == []
    store.close()


def test_what_came_before_a_start_is_looked_at_again_before_the_next_text_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's alone, which remembers what may be repeated: after a peak that is much to look at."""
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    store.append([arrival(str(number), at=number) for number in range(1200)])
    store.close()
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    store.tidy()
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "rows", lambda *_: pytest.fail("it reads now"))
        store.append([arrival(str(number), at=2000) for number in (0, 1199, 1200)])
    assert [one.duplicate_of for one in store.read(EVERYTHING)[-3:]] == [1, 1200, None]
    store.close()


def test_texts_that_all_have_a_request_id_are_not_looked_at_again_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's alone. Of such texts its window stays empty, which is not the same as not known."""
    store = SqliteStore(tmp_path / "inbox.sqlite3")
    store.append([arrival(at=0, requestId="r")])
    with monkeypatch.context() as patched:
        patched.setattr(Reader, "rows", lambda *_: pytest.fail("it reads now"))
        store.append([arrival(at=1, requestId="r"), arrival(at=1, requestId="s")])
    assert [one.duplicate_of for one in store.read(EVERYTHING)] == [None, 1, None]
    store.close()


def test_what_was_taken_or_waited_to_be_tried_again_is_due_at_the_next_start(tmp_path: Path) -> None:
    """SQLite's alone: of PostgreSQL's others may be forwarding, and the lease decides."""
    store = SqliteStore(tmp_path / "inbox.sqlite3", ["a"])
    store.append([arrival("1"), arrival("2", "2"), arrival("1b")])
    claim = take(store)
    store.outbox.report(claim, [Failed(claim.runs[0][0].stored.id, "no", LEASE)])
    assert texts(take(store)) == ["2"]
    store.close()
    store = SqliteStore(tmp_path / "inbox.sqlite3", ["a"])
    assert texts(take(store)) == ["1", "2"]
    store.close()


def test_dead_letters_hold_up_nobody_and_can_be_seen_retried_and_discarded(open_store: Open) -> None:
    store = open_store("a", "b")
    store.append([arrival("1"), arrival("2"), arrival("3", "2"), arrival("4")])
    claim = take(store, run=2)
    dead = [parcel for run in claim.runs for parcel in run]
    store.outbox.report(claim, [Dead(parcel.stored.id, "HTTP 410") for parcel in dead])
    claim = take(store)
    assert texts(claim) == ["4"]
    letters = store.outbox.dead_letters("a", 2)
    assert texts(letters) == ["1", "2"]
    assert (letters[0].delivery.reason, letters[0].delivery.attempts) == ("HTTP 410", 1)
    assert texts(store.outbox.dead_letters("a", 2, after=letters[-1].stored.id)) == ["3"]
    assert store.outbox.dead_letters("b", 10) == []
    assert store.outbox.retry("a", [letters[1].stored.id, 999]) == 1
    assert take(store).runs == (), "4 of the same device is under way"
    store.outbox.report(claim, [Delivered(claim.runs[0][0].stored.id)])
    assert deliver_all(store) == ["2"]
    assert store.outbox.retry("a", [letters[0].stored.id]) == 1
    assert deliver_all(store) == ["1"]
    assert store.outbox.discard("a") == 1
    assert (store.outbox.retry("a"), store.outbox.dead_letters("a", 10), deliver_all(store)) == (0, [], [])


def test_thousands_of_dead_letters_are_retried_in_the_order_of_their_devices(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival(str(number), str(number % 7), number) for number in range(1500)])
    while (claim := take(store, limit=1000, run=1000)).runs:
        store.outbox.report(claim, [Dead(parcel.stored.id, "HTTP 410") for run in claim.runs for parcel in run])
    assert store.outbox.retry("a") == 1500
    delivered = deliver_all(store, run=50)
    assert len(delivered) == 1500
    for device in range(7):
        assert [int(one or "") for one in delivered if int(one or "") % 7 == device] == list(range(device, 1500, 7))


def test_backlogs_count_what_waits_how_old_it_is_and_what_is_dead(open_store: Open) -> None:
    store = open_store("a", "b")
    assert [(one.sink, one.waiting, one.oldest, one.dead) for one in store.outbox.backlogs()] == [
        ("a", 0, None, 0),
        ("b", 0, None, 0),
    ]
    store.append([arrival("1", at=10), arrival("2", "2", at=20), arrival("3", at=30)])
    claim = take(store)
    store.outbox.report(claim, [Dead(claim.runs[0][0].stored.id, "no"), Delivered(claim.runs[1][0].stored.id)])
    store.close()
    store = open_store("a")
    found = {one.sink: (one.waiting, one.oldest, one.dead) for one in store.outbox.backlogs()}
    assert found == {"a": (1, 30, 1), "b": (3, 10, 0)}
    assert (store.outbox.is_served("a"), store.outbox.is_served("b")) == (True, False)
    assert store.outbox.discard("b") == 0, "what waits is not a dead letter"
    assert store.outbox.discard("b", waiting=True) == 3
    assert [one.sink for one in store.outbox.backlogs()] == ["a"]


def test_a_journey_tells_of_every_sink_what_was_tried_and_what_comes_next(open_store: Open) -> None:
    store = open_store("a", "b", "c")
    store.append([arrival("1", at=10), arrival("2", at=11)])
    number = store.read(EVERYTHING)[0].id
    store.outbox.report(take(store, "a"), [Delivered(number)])
    store.outbox.report(take(store, "b"), [Failed(number, "HTTP 503", 60.0)])
    journey = store.journey(number)
    assert journey is not None
    assert (journey.stored.text, journey.stored.received) == ("1", 10)
    a, b, c = journey.deliveries
    assert (a.sink, a.state, a.attempts, a.reason, a.due) == ("a", "delivered", 1, None, None)
    assert (b.sink, b.state, b.attempts, b.reason) == ("b", "waiting", 1, "HTTP 503")
    assert a.changed is not None
    assert b.changed is not None
    assert b.due is not None
    assert abs(b.due - b.changed - 60_000_000) < 1_000_000
    assert (c.sink, c.state, c.attempts, c.changed, c.due) == ("c", "waiting", 0, None, 0)
    behind = store.journey(number + 1)
    assert behind is not None
    assert [one.due for one in behind.deliveries] == [0, None, None]
    assert store.journey(number + 2) is None


def test_only_what_is_old_and_owed_to_nobody_is_removed_and_no_id_comes_again(open_store: Open) -> None:
    store = open_store("a")
    store.append([arrival(str(number), str(number), number) for number in range(6)])
    first = store.read(EVERYTHING)[0].id
    claim = take(store)
    delivered = [Delivered(first + number) for number in range(2, 6)]
    store.outbox.report(claim, [Dead(first, "no"), Failed(first + 1, "no", 60.0), *delivered])
    removal = store.remove(received_before=5, limit=2)
    assert (removal.removed, removal.after) == (0, (1, first + 1))
    removal = store.remove(received_before=5, limit=2, after=(1, first + 1))
    assert (removal.removed, removal.after) == (2, (3, first + 3))
    removal = store.remove(received_before=5, limit=3, after=(3, first + 3))
    assert (removal.removed, removal.after) == (1, None)
    assert [one.id - first for one in store.read(EVERYTHING)] == [0, 1, 5]
    assert [one.id - first for one in store.read(Selection(limit=9, device="2"))] == []
    assert store.journey(first + 2) is None
    assert store.outbox.discard("a") == 1
    store.outbox.report(claim, [])
    assert store.remove(received_before=9, limit=10).removed == 2
    store.close()
    store = open_store()
    store.append([arrival("new", at=100)])
    assert store.read(EVERYTHING)[-1].id > first + 5


def test_takers_in_many_threads_never_get_the_same_and_keep_the_order(open_store: Open) -> None:
    store = open_store("a")
    devices, each = 12, 30
    seen: list[tuple[int, int]] = []
    under_way: set[int] = set()
    twice: list[int] = []
    guard = threading.Lock()
    appended = threading.Event()

    def append() -> None:
        try:
            for number in range(each):
                store.append([arrival(str(number), str(device), number) for device in range(devices)])
        finally:
            appended.set()

    def forward() -> None:
        while not appended.is_set() or any(backlog.waiting for backlog in store.outbox.backlogs()):
            claim = take(store, limit=10, run=4)
            mine = [(int(parcel.stored.devices[0].id), parcel.stored.id) for run in claim.runs for parcel in run]
            with guard:
                twice.extend(device for device in {device for device, _ in mine} if device in under_way)
                under_way.update(device for device, _ in mine)
                seen.extend(mine)
            with guard:
                under_way.difference_update(device for device, _ in mine)
            store.outbox.report(claim, [Delivered(number) for _, number in mine])

    threads = [threading.Thread(target=append), *(threading.Thread(target=forward) for _ in range(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert twice == []
    assert len(seen) == len({number for _, number in seen}) == devices * each
    for device in range(devices):
        numbers = [number for of, number in seen if of == device]
        assert numbers == sorted(numbers)


def test_what_came_while_a_clock_was_ahead_keeps_nothing_behind_it_from_being_removed(open_store: Open) -> None:
    store = open_store()
    came = [*range(1000, 1005), 2, 1, 2, 1000, 1]
    store.append([arrival(str(place), str(place), received) for place, received in enumerate(came)])
    first = store.read(EVERYTHING)[0].id
    removal = store.remove(received_before=10, limit=3)
    assert (removal.removed, removal.after) == (3, (2, first + 5))
    removal = store.remove(received_before=10, limit=3, after=(2, first + 5))
    assert (removal.removed, removal.after) == (1, None)
    assert [one.received for one in store.read(EVERYTHING)] == [*range(1000, 1005), 1000]
