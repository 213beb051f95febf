"""Keeping an emulator's state in a file across restarts."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from thingspace_provider.emulator.emulator import Emulator, Setup
from thingspace_provider.emulator.platform.state_json import BadState, export_world, import_world

INTERVAL = 1.0
"""Wall seconds between two looks at whether something changed; longer where writing takes long."""


class Keeper:
    """Writes the state when it has changed, at most once a second, and at the end."""

    def __init__(self, emulator: Emulator, path: Path) -> None:
        self._emulator, self._path = emulator, path
        self._written: tuple[int, int] | None = None

    async def run(self) -> None:
        """Write until cancelled."""
        pause = INTERVAL
        while True:
            await asyncio.sleep(pause)
            began = time.monotonic()
            self.write()
            pause = max(INTERVAL, 10 * (time.monotonic() - began))

    def write(self) -> None:
        """Write if something changed. The file is replaced in one step and only its owner can read it."""
        revision = self._emulator.revision
        if revision == self._written:
            return
        clock = self._emulator.clock
        content = {**export_world(self._emulator.world), "moment": clock.now()}
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file)
        beside.replace(self._path)
        self._written = revision


def restored(setup: Setup, path: Path) -> Setup:
    """The setup with the world of a state file, if there is one. Its clock never goes back. Raises BadState."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise BadState(f"there is no folder {path.parent}") from None
        return setup
    except OSError as error:
        raise BadState(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadState(f"{path} is not JSON: {error}") from error
    try:
        world = import_world(content)
    except BadState as error:
        raise BadState(f"{path}: {error}") from error
    moment = content.get("moment")
    now = setup.start if setup.start is not None else time.time()
    start = max(now, float(moment)) if isinstance(moment, (int, float)) else now
    return replace(setup, world=world, start=start)
