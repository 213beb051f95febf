"""Find, install or build the Pulumi engine, and print the folder of its programs.

The engine is `pulumi` plus its Python language host. Order of preference:

    path     what is on PATH, when it is new enough
    install  the official installer, through the SDK's own PulumiCommand.install
    build    an ordinary Go build of the modules pinned in cli/ and python-host/

PULUMI_CLI=path, install or build asks for one of them; unset tries all three in this order.
What is installed or built is kept per user and per version, so nobody waits for it twice.
Standard output holds one line, the folder; everything said on the way goes to standard error.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
HOST_PACKAGE = "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"

# 3.139.0 is the first engine that hands the stack's configuration (thingspace:*) to dynamic providers.
MIN_VERSION = (3, 139, 0)

LOG_INTERVAL_SECONDS = 10  # seconds

INSTALL_HINT = (
    "Two ways out:\n"
    "  1. with access to the internet: install Pulumi (https://www.pulumi.com/docs/install/) "
    "so that `pulumi` is on PATH;\n"
    "  2. with access to a Go module proxy: install Go 1.21 or newer (https://go.dev/dl/) "
    "and run this again; the engine is then built from its published modules."
)


class PulumiCliUnavailable(Exception):
    """No engine could be had in the way that was asked for; the text says what to do."""


def log(message: str) -> None:
    """Tell the person who is waiting what is going on."""
    print(f"engine: {message}", file=sys.stderr, flush=True)


def read_pinned_version() -> str:
    """The engine version of cli/go.mod, without the v."""
    match = re.search(r"pulumi/pkg/v3 v(\S+)", (HERE / "cli" / "go.mod").read_text())
    if match is None:
        raise PulumiCliUnavailable(f"{HERE / 'cli' / 'go.mod'} does not pin github.com/pulumi/pulumi/pkg/v3")
    return match.group(1)


def cache_directory() -> Path:
    """Where this user keeps engines: one folder per version and way of getting it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "thingspace-provider" / "engine"


def find_on_path(_version: str) -> Path:
    """The folder of the `pulumi` on PATH, if it is new enough and has its Python language host."""
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        raise PulumiCliUnavailable("`pulumi` is not on PATH.")
    output = subprocess.run(
        [pulumi, "version"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
    ).stdout.strip()
    number = re.match(r"v?(\d+)\.(\d+)\.(\d+)", output)
    if number is None or tuple(map(int, number.groups())) < MIN_VERSION:
        minimum = ".".join(map(str, MIN_VERSION))
        raise PulumiCliUnavailable(
            f"{pulumi} is version {output or 'unknown'}; {minimum} or newer is needed, "
            "the first that gives stack configuration to dynamic providers."
        )
    folder = Path(pulumi).resolve().parent
    if not (folder / "pulumi-language-python").exists() and shutil.which("pulumi-language-python") is None:
        raise PulumiCliUnavailable(f"{pulumi} has no pulumi-language-python beside it or on PATH.")
    return Path(pulumi).parent


def install(version: str) -> Path:
    """The official installer's engine, in this user's cache."""

    def run_installer(root: Path) -> None:
        log(f"installing Pulumi {version} with the official installer ...")
        try:
            from pulumi.automation import PulumiCommand  # noqa: PLC0415  the SDK is needed only here
            from semver import VersionInfo  # noqa: PLC0415
        except ImportError as error:
            raise PulumiCliUnavailable(f"the Pulumi SDK is not installed in {sys.executable}") from error
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(20)  # the SDK sets none, and a silent firewall would hold us for ever
        try:
            PulumiCommand.install(root=str(root), version=VersionInfo.parse(version))
        except subprocess.CalledProcessError as error:
            last = (error.output or b"").decode(errors="replace").strip().splitlines()[-1:]
            raise PulumiCliUnavailable(f"the official installer failed: {' '.join(last) or error}") from error
        except OSError as error:
            raise PulumiCliUnavailable(f"the official installer cannot be reached ({error}).") from error
        finally:
            socket.setdefaulttimeout(before)

    return cache_or_create(cache_directory() / f"{version}-installed", run_installer)


def build(version: str) -> Path:
    """An engine built from the pinned Go modules, in this user's cache."""

    def run_build(root: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise PulumiCliUnavailable("building the engine needs Go, and `go` is not on PATH.")
        log(
            f"building Pulumi {version} from its Go modules. This takes about six minutes on two cores, "
            "once: the result is kept for this user."
        )
        folder = root / "bin"
        folder.mkdir(parents=True)
        stamp = f"-s -w -X {SDK_MODULE}/go/common/version.Version=v{version}"
        compile_package(go, HERE / "cli", CLI_PACKAGE, folder / "pulumi", stamp)
        compile_package(go, HERE / "python-host", HOST_PACKAGE, folder / "pulumi-language-python", stamp)
        sdk = Path(run_go(go, HERE / "cli", "list", "-m", "-f", "{{.Dir}}", SDK_MODULE).strip())
        for script in ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python"):
            target = folder / Path(script).name
            shutil.copyfile(sdk / script, target)
            target.chmod(0o755)

    return cache_or_create(cache_directory() / f"{version}-built", run_build)


def go_environment() -> dict[str, str]:
    """Settings that make the build the same on every machine."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def run_go(go: str, module: Path, *arguments: str) -> str:
    """What one short go command printed."""
    done = subprocess.run(
        [go, *arguments], check=False, cwd=module, env=go_environment(), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise PulumiCliUnavailable(f"`go {arguments[0]}` failed in {module}:\n{done.stderr.strip()[-1500:]}")
    return done.stdout


def compile_package(go: str, module: Path, package: str, target: Path, stamp: str) -> None:
    """Build one program, telling every ten seconds how far it is."""
    name = target.name
    log(f"{name}: getting the modules ...")
    total = len(run_go(go, module, "list", "-deps", package).splitlines())
    command = [go, "build", "-v", "-trimpath", "-tags", "osusergo,grpcnotrace", "-ldflags", stamp]
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
        raise PulumiCliUnavailable(f"building {name} failed:\n{''.join(lines[-15:]).strip()}")
    log(f"{name}: done after {time.monotonic() - started:.0f} s")


def cache_or_create(root: Path, create: Callable[[Path], None]) -> Path:
    """The bin folder under root, made first if it is not there; two processes never make it twice."""
    if not (root / "bin" / "pulumi").exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(root.parent / f"{root.name}.lock"):
            if not (root / "bin" / "pulumi").exists():
                with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
                    created = Path(scratch) / "root"
                    create(created)
                    shutil.rmtree(root, ignore_errors=True)
                    created.rename(root)  # only a whole engine is ever seen under its final name
    return root / "bin"


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file; say so when somebody else holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another process is getting the same engine; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_cached(version: str) -> Path:
    """An engine that an earlier run left in this user's cache: better than a new wait."""
    for name in (f"{version}-installed", f"{version}-built"):
        if (cache_directory() / name / "bin" / "pulumi").exists():
            return cache_directory() / name / "bin"
    raise PulumiCliUnavailable("")


METHODS: dict[str, Callable[[str], Path]] = {"path": find_on_path, "install": install, "build": build}


def find_pulumi_cli(choice: str) -> Path:
    """The folder that holds `pulumi`, got in the way asked for ("" tries every way)."""
    if choice and choice not in METHODS:
        raise PulumiCliUnavailable(f"PULUMI_CLI={choice} is not known; use {', '.join(METHODS)}, or leave it unset.")
    methods = [METHODS[choice]] if choice else [find_on_path, find_cached, install, build]
    reasons = []
    for method in methods:
        try:
            return method(read_pinned_version())
        except PulumiCliUnavailable as error:  # noqa: PERF203  the next way is tried
            if str(error):
                reasons.append(str(error))
                if method is not find_on_path:
                    log(str(error))
    raise PulumiCliUnavailable("No Pulumi engine.\n  " + "\n  ".join(reasons) + "\n" + INSTALL_HINT)


def main() -> int:
    """Print the folder of the engine's programs."""
    try:
        print(find_pulumi_cli(os.environ.get("PULUMI_CLI", "")))
    except PulumiCliUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
