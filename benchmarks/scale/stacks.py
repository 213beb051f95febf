"""Pulumi stack with a temporary state folder, driven by the Pulumi CLI."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

HERE = Path(__file__).resolve().parent
COMMAND_TIMEOUT_SECONDS = 600

# Pulumi stops its plugins with SIGINT, which background processes of a shell and their children ignore. Each command
# would then take 5 s longer, until Pulumi kills the plugins.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Stack:
    """Stack of the program `activations` or `noop`. Each command returns its duration in seconds."""

    def __init__(self, program: str, accounts: list[str], settings: dict[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"scale-{program}-"))
        self._program = self._folder / "program"
        shutil.copytree(HERE / program, self._program)
        (self._folder / "state").mkdir()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("THINGSPACE_", "PULUMI_"))}
        self._environment = {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited["PATH"]]),
            "PULUMI_BACKEND_URL": (self._folder / "state").as_uri(),
            "PULUMI_HOME": str(self._folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "benchmark",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "XDG_STATE_HOME": str(self._folder / "user-state"),
            "ACCOUNTS": " ".join(accounts),
            **settings,
        }
        self._run("stack", "init", "scale")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder)

    def up(self, *flags: str) -> float:
        """Create all resources."""
        return self._run("up", "--yes", "--skip-preview", *flags)

    def unchanged(self) -> float:
        """Run an update without changes."""
        return self._run("up", "--yes", "--skip-preview", "--expect-no-changes")

    def preview(self) -> float:
        """Run a preview without changes."""
        return self._run("preview", "--expect-no-changes")

    def measure_state_bytes(self, kind: str) -> float:
        """Return the mean size of the state of one resource of this type, without white space, in bytes."""
        [file] = (self._folder / "state").glob(".pulumi/stacks/*/scale.json")
        latest = json.loads(file.read_bytes())["checkpoint"]["latest"]
        sizes = [
            len(json.dumps(resource, separators=(",", ":")))
            for resource in latest["resources"]
            if resource["type"].endswith(f":{kind}")
        ]
        return sum(sizes) / len(sizes)

    def _run(self, *arguments: str) -> float:
        began = time.perf_counter()
        done = subprocess.run(
            ["pulumi", "--non-interactive", "--color", "never", *arguments],
            cwd=self._program,
            env=self._environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
        )
        taken = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"pulumi {' '.join(arguments)} failed:\n{done.stdout}")
        return taken
