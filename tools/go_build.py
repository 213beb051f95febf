"""Programs built from pinned Go modules, and the cache of such programs for each user."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from thingspace_provider.common.file_lock import FileLock

LOG_INTERVAL_SECONDS = 10


class BuildFailed(Exception):
    """A program was not built. The message says what to do."""


def log(message: str) -> None:
    """Print a progress line to standard error."""
    print(message, file=sys.stderr, flush=True)


def cache_directory(name: str) -> Path:
    """Return a folder of this user's cache, which has one folder for each version."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "thingspace-provider" / name


def cache_or_create(root: Path, program: str, create: Callable[[Path], None]) -> Path:
    """Return the bin folder under root. If it lacks the program, one process at a time creates root."""
    if not (root / "bin" / program).exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root.parent / f"{root.name}.lock")
        try:
            if not lock.acquire():
                log("another process installs or builds the same version; waiting for it ...")
                lock.acquire(math.inf)
            if not (root / "bin" / program).exists():
                with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
                    created = Path(scratch) / "root"
                    create(created)
                    shutil.rmtree(root, ignore_errors=True)
                    created.rename(root)  # atomic: no process sees an incomplete folder
        finally:
            lock.release()
    return root / "bin"


def find_go() -> str:
    """Return the path of `go`."""
    go = shutil.which("go")
    if go is None:
        raise BuildFailed("building from Go modules needs Go, and `go` is not on PATH.")
    return go


def run_go(module: Path, *arguments: str) -> str:
    """Return the output of a short go command."""
    done = subprocess.run(
        [find_go(), *arguments], check=False, cwd=module, env=go_environment(), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise BuildFailed(f"`go {arguments[0]}` failed in {module}:\n{done.stderr.strip()[-1500:]}")
    return done.stdout


def compile_package(module: Path, package: str, target: Path, **values: str) -> None:
    """Build one program and log the progress every 10 seconds.

    Args:
        module: Folder with go.mod and go.sum.
        package: Import path of the program, or "." for the one in the module's folder.
        target: File to write.
        values: Values of string variables, by import path of the package and name.
    """
    name = target.name
    log(f"{name}: downloading the modules ...")
    total = len(run_go(module, "list", "-deps", package).splitlines())
    target.parent.mkdir(parents=True, exist_ok=True)
    stamp = " ".join(["-s -w", *(f"-X {variable}={value}" for variable, value in values.items())])
    command = [find_go(), "build", "-v", "-trimpath", "-tags", "osusergo,grpcnotrace", "-ldflags", stamp]
    started = last_logged = time.monotonic()
    lines: list[str] = []
    with subprocess.Popen(
        [*command, "-o", str(target), package],
        cwd=module,
        env=go_environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr or ():
            lines.append(line)
            if time.monotonic() - last_logged >= LOG_INTERVAL_SECONDS:
                last_logged = time.monotonic()
                log(f"{name}: {len(lines)} of {total} packages compiled after {last_logged - started:.0f} s")
    if process.returncode != 0:
        raise BuildFailed(f"building {name} failed:\n{''.join(lines[-15:]).strip()}")
    log(f"{name}: done after {time.monotonic() - started:.0f} s")


def go_environment() -> dict[str, str]:
    """Return an environment in which the build does not depend on the machine."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
