"""Readiness endpoint with a PostgreSQL store that stops and starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import wait_until

Start = Callable[..., ListenerProcess]


@pytest.mark.long
def test_without_its_database_a_listener_is_not_ready_and_becomes_ready_with_it(
    start: Start, postgres: PostgresServer
) -> None:
    listener = start(store=postgres.create_database())
    assert listener.get("/readyz").status_code == 200
    postgres.stop()
    try:
        wait_until(lambda: listener.get("/readyz").status_code == 503, 60, "the listener is not ready")
        assert listener.get("/readyz").json()["status"] == "unavailable"
        assert listener.post(build_text_callback("comes too early")).status_code == 503
        assert listener.get("/healthz").status_code == 200
    finally:
        postgres.start()
    wait_until(lambda: listener.get("/readyz").status_code == 200, 30, "the listener is ready")
    assert listener.post(build_text_callback("comes in time")).status_code == 200
    assert listener.message_texts() == ["comes in time"]
