"""Messages API: pages, filters and token."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.listener_process import ACCOUNT, API_TOKEN, OTHER_ACCOUNT, ListenerProcess, build_text_callback
from tests.support.waiting import wait_until

Start = Callable[..., ListenerProcess]


def test_message_has_exactly_the_documented_keys(start: Start) -> None:
    listener = start()
    before = datetime.now(timezone.utc)
    devices = [{"id": "89148000001234567890", "kind": "ICCID"}, {"kind": "Mdn", "id": "5551230001"}, {"kind": "imei"}]
    listener.post(build_text_callback("hello", deviceIds=devices, unknown={"a": 1}))
    page = listener.fetch_page()
    arrived = datetime.fromisoformat(page["messages"][0].pop("receivedAt").replace("Z", "+00:00"))
    assert before - timedelta(milliseconds=1) <= arrived <= datetime.now(timezone.utc)
    assert page == {
        "messages": [
            {
                "id": "1",
                "account": ACCOUNT,
                "devices": [{"kind": "iccid", "id": "89148000001234567890"}, {"kind": "mdn", "id": "5551230001"}],
                "text": "hello",
                "duplicateOf": None,
            }
        ],
        "next": "1",
    }


def test_an_empty_inbox_has_no_cursor_and_a_later_page_repeats_its_own(start: Start) -> None:
    listener = start()
    assert listener.fetch_page() == {"messages": [], "next": None}
    listener.post(build_text_callback())
    cursor = listener.fetch_page()["next"]
    assert listener.fetch_page(after=cursor) == {"messages": [], "next": cursor}


def test_pages_follow_each_other_in_the_order_of_storage(start: Start) -> None:
    listener = start()
    for number in range(7):
        listener.post(build_text_callback(str(number)))
    seen: list[str] = []
    cursor = None
    for expected in (3, 3, 1, 0):
        page = listener.fetch_page(limit=3, **({"after": cursor} if cursor else {}))
        assert len(page["messages"]) == expected
        seen += [message["text"] for message in page["messages"]]
        cursor = page["next"]
    assert seen == [str(number) for number in range(7)]
    assert [message["text"] for message in listener.fetch_page(newest=2)["messages"]] == ["5", "6"]
    assert listener.fetch_page(newest=2)["next"] == cursor


def test_a_reader_that_polls_while_messages_are_stored_gets_each_of_them_once(start: Start) -> None:
    listener = start()
    writers = 4
    messages_per_sender = 60

    acknowledged: list[str] = []

    def write(writer: int) -> None:
        for number in range(messages_per_sender):
            name = f"{writer}-{number}"
            if (
                listener.post(build_text_callback(name, device=f"555123000{writer}")).status_code == 200
            ):  # 503 for a disk that stalls
                acknowledged.append(name)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    seen: list[str] = []
    cursor = None

    def has_read_all() -> bool:
        nonlocal cursor
        written = not any(thread.is_alive() for thread in threads)
        page = listener.fetch_page(limit=7, **({"after": cursor} if cursor else {}))
        seen.extend(message["text"] for message in page["messages"])
        cursor = page["next"]
        return written and not page["messages"]

    wait_until(has_read_all, 120, "the reader sees every message", interval_seconds=0.001)
    assert len(seen) == len(set(seen))
    assert set(acknowledged) <= set(seen)
    assert len(acknowledged) > writers * messages_per_sender // 2


def test_only_kind_text_is_returned_by_default(start: Start) -> None:
    listener = start()
    confirmation = {"smsDeliveryResponse": {"confirmation": "Delivered"}}
    listener.post(build_text_callback("a text"))
    listener.post(build_text_callback(smsMessage=None, requestId="r1", deviceResponse=confirmation, status="Success"))
    assert [message["text"] for message in listener.fetch_page()["messages"]] == ["a text"]
    (selected,) = listener.fetch_page(kind="confirmation")["messages"]
    assert (selected["text"], selected["kind"], selected["requestId"]) == (None, "confirmation", "r1")
    assert len(listener.fetch_page(kind="all")["messages"]) == 2


def test_an_account_filter_returns_messages_of_that_account_only(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("one"))
    listener.post(build_text_callback("two"), listener.path(OTHER_ACCOUNT))
    assert [message["text"] for message in listener.fetch_page(account=OTHER_ACCOUNT)["messages"]] == ["two"]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer wrong-token-of-some-length", f"Basic {API_TOKEN}", f"{API_TOKEN}"]
)
def test_messages_require_the_token(listener: ListenerProcess, authorization: str) -> None:
    response = listener.get("/v1/messages", Authorization=authorization)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "messages" not in response.json()


def test_messages_are_not_readable_without_an_api_token(start: Start) -> None:
    listener = start(apiToken=None)
    assert listener.get("/v1/messages", Authorization="Bearer ").status_code == 401


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("after=-1", "after"),
        ("after=99999999999999999999", "after"),
        ("kind=letters", "kind"),
        ("newest=3&after=1", "newest"),
        ("from=2026-03-01", "from"),
        ("before=0", "before"),
        ("device=mdn:", "device"),
        ("device=:", "device"),
        ("since=yesterday", "since"),
        ("until=2026-02-30", "until"),
        ("since=2026-03-01T25:00:00Z", "since"),
        ("since=2026-03-01T00:00:00%2B99:00", "since"),
    ],
)
def test_invalid_parameter_is_named(listener: ListenerProcess, query: str, word: str) -> None:
    response = listener.get(f"/v1/messages?{query}", Authorization=f"Bearer {API_TOKEN}")
    assert response.status_code == 400
    assert response.json()["error"].startswith(word)


def test_filters_select_messages_in_the_store(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("Gate open", device="5551230001"))
    listener.post(build_text_callback("gate 100% shut", device="5551230002"))
    listener.post(
        build_text_callback("T=21.5", deviceIds=[{"id": "A0000012345678", "kind": "MEID"}]),
        listener.path(OTHER_ACCOUNT),
    )

    def find_texts(**wanted: str) -> list[str]:
        return [message["text"] for message in listener.fetch_page(**wanted)["messages"]]

    assert find_texts(contains="GATE") == ["Gate open", "gate 100% shut"]
    assert find_texts(contains="0%") == ["gate 100% shut"]
    assert find_texts(contains="gate", device="5551230001") == ["Gate open"]
    assert find_texts(device="mdn:5551230002") == ["gate 100% shut"]
    assert find_texts(device="a0000012345678", account=OTHER_ACCOUNT) == ["T=21.5"]
    assert (
        find_texts(device="imei:5551230002")
        == find_texts(contains="window")
        == find_texts(device="5551230002", contains="open")
        == []
    )
    assert find_texts(newest="1", before="3") == ["gate 100% shut"]


def test_a_time_is_a_moment_or_a_whole_day(start: Start) -> None:
    listener = start()
    listener.post(build_text_callback("now"))
    received = listener.fetch_page()["messages"][0]["receivedAt"]
    day, earlier = received[:10], "2001-01-01"
    second = received[:19]
    for wanted, count in (
        ({"since": day}, 1),
        ({"until": day}, 1),
        ({"since": day, "until": day}, 1),
        ({"since": earlier, "until": earlier}, 0),
        ({"since": f"{second}Z"}, 1),
        ({"since": f"{second}+00:00", "until": f"{second}.999999"}, 1),
        ({"until": f"{second}+01:00"}, 0),
        ({"since": f"{second}-01:00"}, 0),
    ):
        assert len(listener.fetch_page(**wanted)["messages"]) == count, wanted
