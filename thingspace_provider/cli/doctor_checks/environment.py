"""What is installed here: Python, packages, the Pulumi engine, and the SQLite of a listener's store."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from thingspace_provider.cli.doctor_checks.check import Step, Steps, failed, ok, skipped

OLDEST_SDK = (3, 216, 0)  # the first whose ReadResult carries inputs
OLDEST_ENGINE = (3, 139, 0)  # the first that hands stack configuration to dynamic providers
COMMAND_SECONDS = 20.0
# SQLite's WAL-reset defect: a commit could be lost when a checkpoint met a writer that reset the log.
DEFECT = ((3, 7, 0), (3, 51, 2))
Version = tuple[int, ...]


class EngineFailed(Exception):
    """The engine ended with an error or not in time; the text is its last line, or how long it took."""


class Engine:
    """A `pulumi` that can be asked."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def ask(self, *arguments: str) -> str:
        """What a command prints. Raises EngineFailed."""
        environment = {
            **os.environ,
            "PATH": f"{self.program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        try:
            done = subprocess.run(
                [self.program, "--non-interactive", "--color", "never", *arguments],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_SECONDS,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            raise EngineFailed(f"it did not end within {COMMAND_SECONDS:g} s") from None
        except OSError as error:
            raise EngineFailed(f"it cannot be run ({(error.strerror or 'unknown').lower()})") from None
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
            raise EngineFailed(lines[-1].removeprefix("error: "))
        return done.stdout


def steps() -> Steps[Engine | None]:
    """Returns the engine, when there is one to ask."""
    yield ok("python", f"{platform.python_version()} on {platform.system()}")
    yield _packages()
    engine = _found()
    if engine is None:
        yield failed(
            "engine",
            "`pulumi` is not on PATH, and make has not installed one for this user",
            "Install it (https://www.pulumi.com/docs/install/), or let `make demo` get one.",
        )
    else:
        engine = yield from _engine(engine)
    yield _sqlite()
    return engine


def _packages() -> Step:
    provider, sdk = metadata.version("thingspace-provider"), metadata.version("pulumi")
    what = f"thingspace-provider {provider}, pulumi {sdk}"
    if parsed(sdk) < OLDEST_SDK:
        oldest = shown(OLDEST_SDK)
        return failed("packages", f"{what}: too old, {oldest} is needed", f"pip install 'pulumi>={oldest}'")
    return ok("packages", what)


def _found() -> Engine | None:
    """The `pulumi` on PATH, else one that `make` keeps for this user."""
    on_path = shutil.which("pulumi")
    if on_path:
        return Engine(Path(on_path))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = sorted((cache / "thingspace-provider" / "engine").glob("*/bin/pulumi"))
    return Engine(kept[-1]) if kept else None


def _engine(engine: Engine) -> Steps[Engine | None]:
    install = "Install a newer one: https://www.pulumi.com/docs/install/"
    try:
        version = engine.ask("version").strip()
    except EngineFailed as reason:
        yield failed("engine", f"{engine.program}: {reason}", install)
        return None
    if parsed(version) < OLDEST_ENGINE:
        yield failed("engine", f"{engine.program} is {version}; {shown(OLDEST_ENGINE)} is needed", install)
    else:
        yield ok("engine", f"{version.removeprefix('v')} at {engine.program}")
    host = "pulumi-language-python"
    if (engine.program.resolve().parent / host).exists() or shutil.which(host):
        yield ok("language host", f"{host} is there")
    else:
        yield failed("language host", f"{host} is neither beside pulumi nor on PATH", "Install Pulumi as a whole.")
    return engine


def _sqlite() -> Step:
    """The library that the listener's store uses, which is not Python's own."""
    try:
        apsw = importlib.import_module("apsw")
    except ModuleNotFoundError:
        return skipped("sqlite", "apsw is not installed; only a listener on this machine needs it")
    version = str(apsw.sqlite_lib_version())
    if DEFECT[0] <= parsed(version) <= DEFECT[1]:
        return failed(
            "sqlite",
            f"SQLite {version} has the WAL-reset defect of {shown(DEFECT[0])} to {shown(DEFECT[1])}: a stored text can "
            "be lost, so a listener refuses to start",
            "pip install 'apsw>=3.51.3'",
        )
    return ok("sqlite", f"{version} (of apsw), without the WAL-reset defect")


def parsed(version: str) -> Version:
    """The numbers that a version begins with: "v3.51.2-beta" is (3, 51, 2); () when there are none."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in found.group(1).split(".")[:3]) if found else ()


def shown(version: Version) -> str:
    """As a person writes it."""
    return ".".join(map(str, version))
