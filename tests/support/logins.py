"""Results of calls that log in, by one or by many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.support.emulator_process import ACCOUNT
from tests.support.fake_deadline import FakeTime
from thingspace_provider.api import ThingSpaceClient, errors


def call_result(client: ThingSpaceClient) -> str:
    """Return the result of one call: `done`, or class and text of its error."""
    try:
        client.with_deadline(FakeTime().build_deadline()).start_callbacks(ACCOUNT)
    except errors.ThingSpaceError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def log_in_concurrently(client: ThingSpaceClient, count: int = 8) -> list[str]:
    """Return the sorted results of simultaneous calls by threads of one run."""
    at_once = threading.Barrier(count, timeout=60)

    def start() -> str:
        at_once.wait()
        return call_result(client)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(start) for _ in range(count)]
        return sorted(future.result(60) for future in futures)
