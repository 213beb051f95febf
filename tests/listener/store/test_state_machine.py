"""Every message of a device is in the inbox or in ThingSpace's queue, after any sequence of events."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.emulator_process import EmulatorProcess
from tests.support.listener_process import ACCOUNT, USERNAME, ListenerProcess, reserve_port
from tests.support.waiting import wait_until

RETRY_SECONDS = 60.0
"""Virtual seconds after which ThingSpace has retried every message.

It sends a queue in waves of 32, and retries each wave after 1.3 s, so a full queue takes longest without a listener. A
session expires after twenty-one of these, so each call logs in.
"""


class ListenerStateMachine(RuleBasedStateMachine):
    """Listener and emulator as real processes, and the model: the messages that were sent."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="inbox-"))
        self.emulator = EmulatorProcess("--switch", "registrationPorts=any", "--switch", "preset=observed")
        self.platform = self.emulator.caller
        self.platform.control("POST", "clock", {"frozen": True})
        self.port = reserve_port()
        self.listener: ListenerProcess | None = None
        self.passwords = ["invented-password-0", "invented-password-1"]
        self.sent: list[str] = []
        self.seen: list[dict[str, str]] = []

    @initialize()
    def begin(self) -> None:
        self.start()
        self.register()

    @rule()
    @precondition(lambda self: self.listener is None)
    def start(self) -> None:
        self.listener = ListenerProcess(self.folder, port=self.port, **self.credential())

    @rule()
    @precondition(lambda self: self.listener is not None)
    def crash(self) -> None:
        assert self.listener
        self.listener.kill()
        self.listener = None

    @rule()
    @precondition(lambda self: self.listener is not None)
    def stop(self) -> None:
        assert self.listener
        assert self.listener.stop() == 0
        self.listener = None

    @rule(copies=st.integers(0, 2), message_count=st.integers(1, 5))
    def send(self, copies: int, message_count: int) -> None:
        """Send messages from devices. ThingSpace posts `copies` duplicates of each at the same time."""
        if copies:
            fault = {"operation": "delivery", "duplicate": copies, "times": message_count}
            assert self.platform.control("POST", "faults", fault).status == 201
        self.send_messages(message_count)
        self.platform.advance_clock(RETRY_SECONDS)
        self.platform.wait_until_idle()
        self.platform.control("DELETE", "faults")

    @rule()
    def drain(self) -> None:
        assert self.platform.log_in().start_callbacks().status == 200
        self.platform.advance_clock(RETRY_SECONDS)
        self.platform.wait_until_idle()

    @rule(message_count=st.integers(1, 30))
    @precondition(lambda self: self.listener is not None)
    def crash_under_delivery(self, message_count: int) -> None:
        self.send_messages(message_count)
        assert self.platform.log_in().start_callbacks().status == 200
        self.crash()
        self.platform.advance_clock(RETRY_SECONDS)
        self.platform.wait_until_idle()

    @rule()
    def rotate(self) -> None:
        """Set a new password at the listener, then at ThingSpace. In between, the previous one is valid."""
        self.passwords.append(f"invented-password-{len(self.passwords)}")
        if self.listener:
            self.listener.write(port=self.port, **self.credential())
            reloads = self.events().count("settings_reloaded")
            self.listener.process.send_signal(signal.SIGHUP)
            wait_until(
                lambda: self.events().count("settings_reloaded") > reloads, 60, "the listener reloads its settings"
            )
        self.send(copies=0, message_count=1)
        self.register()

    @invariant()
    def every_message_is_stored_or_queued(self) -> None:
        if self.listener is None:
            return
        messages = self.listener.messages()
        assert messages[: len(self.seen)] == self.seen, "stored messages have changed"
        self.seen = messages
        copies = defaultdict(list)
        for message in messages:
            copies[message["text"]].append(message)
        for first, *others in copies.values():
            assert first["duplicateOf"] is None
            assert [other["duplicateOf"] for other in others] == [first["id"]] * len(others)
        assert set(copies) | set(self.platform.fetch_queue()) == set(self.sent)

    def teardown(self) -> None:
        """Start and drain: the queue must be empty."""
        try:
            if self.listener is None:
                self.start()
            self.drain()
            assert self.platform.fetch_queue() == []
            self.every_message_is_stored_or_queued()
        finally:
            if self.listener:
                self.listener.kill()
            self.emulator.end(signal.SIGKILL)
            shutil.rmtree(self.folder)

    def send_messages(self, message_count: int) -> None:
        for _ in range(message_count):
            self.sent.append(f"T={len(self.sent)}")
            self.platform.send_message(self.sent[-1])

    def register(self) -> None:
        url = f"http://127.0.0.1:{self.port}/callbacks/invented-path-token/{ACCOUNT}"
        assert self.platform.log_in().register(url, username=USERNAME, password=self.passwords[-1]).status == 200

    def credential(self) -> dict[str, Any]:
        return {"password": self.passwords[-1], "previousPasswords": [self.passwords[-2]]}

    def events(self) -> list[str]:
        assert self.listener
        return [json.loads(line)["event"] for line in self.listener.log.read_text().splitlines()]


STATE_MACHINE_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(
    ("lives", "steps"),
    [(2, 10), pytest.param(40, 30, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_no_message_is_lost_after_any_sequence_of_events(lives: int, steps: int) -> None:
    run_state_machine_as_test(
        ListenerStateMachine, settings=settings(STATE_MACHINE_SETTINGS, max_examples=lives, stateful_step_count=steps)
    )
