"""Pytest plugin: marks the tests that `make test-fast` runs, and lets none of them start a process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent
FAST_PATHS = (
    "api/test_client.py",
    "api/test_retry.py",
    "common",
    "config",
    "docs",
    "emulator/test_control.py",
    "emulator/test_documentation.py",
    "emulator/test_faults.py",
    "emulator/test_fidelity.py",
    "emulator/test_gateway.py",
    "emulator/test_history.py",
    "emulator/test_messages.py",
    "emulator/test_registrations.py",
    "emulator/test_scenario.py",
    "emulator/test_sending.py",
    "emulator/test_sessions.py",
    "emulator/test_tokens.py",
    "hosting",
    "listener/forwarding/test_circuit_breaker.py",
    "listener/forwarding/test_cloudevents.py",
    "listener/forwarding/test_http_sink.py",
    "listener/forwarding/test_sink_settings.py",
    "listener/recovery/test_recovery_schedule.py",
    "listener/recovery/test_recovery_settings.py",
    "listener/settings",
    "listener/store/test_sqlite_reader.py",
    "providers/test_state_format.py",
    "resources",
    "tools/test_mkdocs_hooks.py",
)
PROCESS_EVENTS = frozenset({"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
STARTS_PROCESS = "starts_process"  # marker of the few tests in FAST_PATHS that need one
_running_fast_test: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of FAST_PATHS."""
    paths = [TESTS / path for path in FAST_PATHS]
    for item in items:
        is_listed = any(item.path == path or path in item.path.parents for path in paths)
        if is_listed and not (item.get_closest_marker("long") or item.get_closest_marker(STARTS_PROCESS)):
            item.add_marker(pytest.mark.fast)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Forbid processes in the set-up of a fast test. The tear-down may end fixtures of other tests."""
    with _forbid_processes_of(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Forbid processes in a fast test."""
    with _forbid_processes_of(item):
        return (yield)


@contextlib.contextmanager
def _forbid_processes_of(item: pytest.Item) -> Iterator[None]:
    if item.get_closest_marker("fast"):
        _running_fast_test.append(item.nodeid)
    try:
        yield
    finally:
        _running_fast_test.clear()


def _forbid_processes(event: str, arguments: tuple[Any, ...]) -> None:
    if event in PROCESS_EVENTS and _running_fast_test:
        raise AssertionError(f"{_running_fast_test[0]} is marked fast, but starts a process: {arguments[0]}")


sys.addaudithook(_forbid_processes)
