"""Checks of the environment: Python, packages, the Pulumi CLI, and the SQLite library of a listener's store."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from thingspace_provider.cli.doctor_checks.check import Check, Checks, failed, ok, skipped

MIN_SDK_VERSION = (3, 216, 0)  # first version whose ReadResult carries inputs
MIN_CLI_VERSION = (3, 139, 0)  # first version that hands stack configuration to dynamic providers
COMMAND_TIMEOUT_SECONDS = 20.0
# SQLite can lose a commit if a checkpoint runs while a writer resets the write-ahead log.
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))
Version = tuple[int, ...]


class PulumiCliError(Exception):
    """A `pulumi` command failed or timed out. The text is its last line, or the timeout."""


class PulumiCli:
    """Runs `pulumi` commands."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def run(self, *arguments: str) -> str:
        """Run a command and return its standard output. Raises PulumiCliError."""
        environment = {
            **os.environ,
            "PATH": f"{self.program.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        try:
            result = subprocess.run(
                [self.program, "--non-interactive", "--color", "never", *arguments],
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT_SECONDS,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            raise PulumiCliError(f"it timed out after {COMMAND_TIMEOUT_SECONDS:g} s") from None
        except OSError as error:
            raise PulumiCliError(f"it cannot run ({(error.strerror or 'unknown').lower()})") from None
        if result.returncode != 0:
            lines = result.stderr.strip().splitlines() or [f"it exited with {result.returncode}"]
            raise PulumiCliError(lines[-1].removeprefix("error: "))
        return result.stdout


def run_checks() -> Checks[PulumiCli | None]:
    """Check the environment and return the Pulumi CLI, if it is usable."""
    yield ok("python", f"{platform.python_version()} on {platform.system()}")
    yield _check_packages()
    pulumi_cli = _find_cli()
    if pulumi_cli is None:
        yield failed(
            "pulumi CLI",
            "`pulumi` is not on PATH, and `make` has not installed one for this user",
            "Install it (https://www.pulumi.com/docs/install/), or run `make demo` in a clone to get one.",
        )
    else:
        pulumi_cli = yield from _check_cli(pulumi_cli)
    yield _check_sqlite()
    return pulumi_cli


def _check_packages() -> Check:
    provider, sdk = metadata.version("thingspace-provider"), metadata.version("pulumi")
    detail = f"thingspace-provider {provider}, pulumi {sdk}"
    if parse_version(sdk) < MIN_SDK_VERSION:
        minimum = format_version(MIN_SDK_VERSION)
        return failed("packages", f"{detail}: {minimum} or newer is required", f"pip install 'pulumi>={minimum}'")
    return ok("packages", detail)


def _find_cli() -> PulumiCli | None:
    """Return the `pulumi` on PATH, or else the one that `make` cached for this user."""
    on_path = shutil.which("pulumi")
    if on_path:
        return PulumiCli(Path(on_path))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cached = sorted((cache / "thingspace-provider" / "pulumi-cli").glob("*/bin/pulumi"))
    return PulumiCli(cached[-1]) if cached else None


def _check_cli(pulumi_cli: PulumiCli) -> Checks[PulumiCli | None]:
    install = "Install a newer version: https://www.pulumi.com/docs/install/"
    try:
        version = pulumi_cli.run("version").strip()
    except PulumiCliError as error:
        yield failed("pulumi CLI", f"{pulumi_cli.program}: {error}", install)
        return None
    if parse_version(version) < MIN_CLI_VERSION:
        yield failed(
            "pulumi CLI",
            f"{pulumi_cli.program} is {version}; {format_version(MIN_CLI_VERSION)} or newer is required",
            install,
        )
    else:
        yield ok("pulumi CLI", f"{version.removeprefix('v')} at {pulumi_cli.program}")
    language_host = "pulumi-language-python"
    if (pulumi_cli.program.resolve().parent / language_host).exists() or shutil.which(language_host):
        yield ok("language host", f"{language_host} is installed")
    else:
        yield failed(
            "language host",
            f"{language_host} is neither beside pulumi nor on PATH",
            "Install the complete Pulumi package.",
        )
    return pulumi_cli


def _check_sqlite() -> Check:
    """Check the SQLite library of apsw, which the listener uses instead of Python's own."""
    try:
        apsw = importlib.import_module("apsw")
    except ModuleNotFoundError:
        return skipped("sqlite", "apsw is not installed. Only a listener on this machine needs it")
    version = str(apsw.sqlite_lib_version())
    if WAL_RESET_BUG[0] <= parse_version(version) <= WAL_RESET_BUG[1]:
        return failed(
            "sqlite",
            f"SQLite {version} has the WAL-reset bug of versions {format_version(WAL_RESET_BUG[0])} to "
            f"{format_version(WAL_RESET_BUG[1])}: a stored message can be lost. A listener does not start with it",
            "pip install 'apsw>=3.51.3'",
        )
    return ok("sqlite", f"{version} (of apsw), without the WAL-reset bug")


def parse_version(version: str) -> Version:
    """Return the leading numbers: "v3.51.2-beta" is (3, 51, 2); () if there are none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match.group(1).split(".")[:3]) if match else ()


def format_version(version: Version) -> str:
    """Return the version as text."""
    return ".".join(map(str, version))
