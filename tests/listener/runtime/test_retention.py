"""Retention: purges old messages only if `retentionDays` is set."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from tests.support.forwarding_harness import build_sink, send
from tests.support.listener_process import ListenerProcess
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver

Start = Callable[..., ListenerProcess]
DAY = 86_400_000_000


def store_aged(listener: ListenerProcess, days: int, message: str) -> None:
    """Move the receive time of messages back by days, in a closed store."""
    store = apsw.Connection(str(listener.folder / "inbox.sqlite3"))
    store.execute("UPDATE messages SET received_at = received_at - ? WHERE text LIKE ?", (days * DAY, message))
    store.close()


def test_old_messages_are_purged_except_pending_ones(start: Start, receiver: Receiver) -> None:
    listener = start(sinks=[build_sink(receiver)])
    send(listener, *(f"old {number}" for number in range(5)), "young")
    receiver.wait_for("young")
    receiver.down()
    send(listener, "old and owed", device="5551230009")
    listener.stop()
    store_aged(listener, 91, "old%")
    listener = start(sinks=[build_sink(receiver)], retentionDays=90)
    wait_until(
        lambda: listener.message_texts() == ["young", "old and owed"], 60, "retention purges the delivered message"
    )
    wait_until(
        lambda: "thingspace_messages_purged_total 5.0" in listener.get("/metrics").text.splitlines(),
        60,
        "the metrics count the purged messages",
    )
    send(listener, "next")
    assert listener.fetch_page()["next"] == "8"  # no id is given twice
