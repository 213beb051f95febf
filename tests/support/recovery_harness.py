"""Helpers for listeners that recover queued messages from the emulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.emulator_process import ACCOUNT, SERVICE, EmulatorProcess
from tests.support.listener_process import PASSWORD, USERNAME, ListenerProcess
from thingspace_provider.api import Registration, ThingSpaceClient

MODES = ("startCallbacks", "history")


def build_recovery_settings(emulator: EmulatorProcess, mode: str, **changes: Any) -> dict[str, Any]:
    """Build settings with a short recovery delay."""
    ready = emulator.ready
    user = {key: ready[key] for key in ("appKey", "appSecret", "username", "password")}
    return {
        "accounts": [ACCOUNT],
        "recoveryMode": mode,
        "recoveryDelaySeconds": 0.2,
        "thingspaceCredentials": {**user, "baseUrl": emulator.url},
        **changes,
    }


def register(thingspace: ThingSpaceClient, listener: ListenerProcess, password: str = PASSWORD) -> None:
    url = listener.ready["callbackUrls"][ACCOUNT]
    thingspace.register_callback(ACCOUNT, Registration(SERVICE, url, USERNAME, password))


def read_events(listener: ListenerProcess, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in listener.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def count_recovery_runs(listener: ListenerProcess) -> int:
    return len(read_events(listener, "recovery_completed"))


def has_recovered(listener: ListenerProcess, times: int) -> Callable[[], bool]:
    return lambda: count_recovery_runs(listener) >= times


def has_more_messages_than(listener: ListenerProcess, count: int) -> Callable[[], bool]:
    return lambda: len(set(listener.message_texts())) > count


def has_all_messages(listener: ListenerProcess, expected: list[str]) -> Callable[[], bool]:
    return lambda: set(expected) <= set(listener.message_texts())
