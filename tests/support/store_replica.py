"""Process that appends to a PostgreSQL store and delivers from it at the same time, as a replica does.

    python -m tests.support.store_replica URL NAME COUNT

It appends COUNT own messages and COUNT messages that every replica sends, and delivers to sink "a" until nothing is
pending. It prints a JSON object for each entry and the time of its lease: {"id", "orderingKey", "from", "until"}.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from tests.support.listener_process import ACCOUNT, build_text_callback
from tests.support.postgres_server import open_postgres_store
from tests.support.waiting import join_thread
from thingspace_provider.listener.callback_parser import parse_body
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.base import Delivered

DEVICES = 10


def build_incoming_callback(message: str, number: int) -> IncomingCallback:
    """Build a callback of one of the devices."""
    body = json.dumps(build_text_callback(message, device=str(number % DEVICES))).encode()
    return IncomingCallback(ACCOUNT, time.time_ns() // 1000, parse_body(body).to_callback())


def main(url: str, name: str, message_count: str) -> None:
    """Append in one thread, deliver in another."""
    store = open_postgres_store(url, "a", append_timeout_seconds=60)  # no sender waits, and the disk may stall
    appended = threading.Event()

    def append() -> None:
        for number in range(int(message_count)):
            store.append(
                [build_incoming_callback(f"{name}-{number}", number), build_incoming_callback(f"all-{number}", number)]
            )
        appended.set()

    appending = threading.Thread(target=append)
    appending.start()
    while not appended.is_set() or any(backlog.pending for backlog in store.outbox.backlogs()):
        lease = store.outbox.acquire("a", 20, lease_seconds=30, batch_size=5)
        begun = time.monotonic()
        entries = [
            (entry.message.id, ordering_key)
            for batch, ordering_key in zip(lease.batches, lease.ordering_keys, strict=True)
            for entry in batch
        ]
        time.sleep(0.002 if entries else 0.01)  # duration of a delivery
        ended = time.monotonic()
        for number, ordering_key in entries:
            sys.stdout.write(
                json.dumps({"id": number, "orderingKey": ordering_key, "from": begun, "until": ended}) + "\n"
            )
        store.outbox.record_outcomes(lease, [Delivered(number) for number, _ in entries])
    join_thread(appending)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
