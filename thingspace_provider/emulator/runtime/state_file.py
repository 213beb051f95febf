"""State file: keeps the platform state across restarts."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

from thingspace_provider.emulator.emulator import Emulator, EmulatorConfig
from thingspace_provider.emulator.platform.state_json import InvalidState, StateJson

INTERVAL_SECONDS = 1.0
"""Shortest time between two writes. It is longer if a write takes long."""


class StateFileWriter:
    """Writes the platform state after changes, at most once a second, and at the end."""

    def __init__(self, emulator: Emulator, path: Path) -> None:
        self._emulator, self._path = emulator, path
        self._written_revision: tuple[int, int] | None = None

    async def run(self) -> None:
        """Write changes until cancelled."""
        interval = INTERVAL_SECONDS
        while True:
            await asyncio.sleep(interval)
            started_at = time.monotonic()
            self.write()
            interval = max(INTERVAL_SECONDS, 10 * (time.monotonic() - started_at))

    def write(self) -> None:
        """Write the state if it can have changed. Replaces the file atomically; only its owner can read it."""
        revision = self._emulator.revision
        if revision == self._written_revision:
            return
        content = StateJson.from_state(self._emulator.state, self._emulator.clock.now()).encode()
        temporary_path = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        temporary_path.replace(self._path)
        self._written_revision = revision


def load_state_file(config: EmulatorConfig, path: Path) -> EmulatorConfig:
    """Load a state file, if it exists. The virtual clock never goes back. Raises InvalidState."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise InvalidState(f"there is no directory {path.parent}") from None
        return config
    except OSError as error:
        raise InvalidState(f"{path} cannot be read: {error.strerror}") from error
    try:
        document = StateJson.decode(content)
        state = document.to_state()
    except InvalidState as error:
        raise InvalidState(f"{path}: {error}") from error
    now = config.start if config.start is not None else time.time()
    return replace(config, state=state, start=max(now, document.clock_seconds or 0.0))
