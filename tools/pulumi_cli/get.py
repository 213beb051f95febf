"""Finds, installs or builds the Pulumi CLI and prints the folder of its programs.

The folder has `pulumi` and its Python language host. Methods, in order:

    path     the `pulumi` on PATH, if its version is supported
    install  the official installer, through PulumiCommand.install of the SDK
    build    a Go build of the modules pinned in cli/ and python-host/

Set PULUMI_CLI to path, install or build to use one method. Without it, all three are attempted in this order.
Installed and built versions are cached for each user.
Standard output has one line, the folder. The log goes to standard error.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools import go_build

HERE = Path(__file__).resolve().parent
CLI_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
HOST_PACKAGE = "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
HOST = HERE / "python-host"
HOST_PATCH = HOST / "plugin_directory.go"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"

# 3.139.0 is the first version that passes stack configuration (thingspace:*) to dynamic providers.
MIN_VERSION = (3, 139, 0)

INSTALLER_TIMEOUT_SECONDS = 20
CACHE = go_build.cache_directory("pulumi-cli")

INSTALL_HINT = (
    "Do one of these, then run the command again:\n"
    "  1. With internet access: install Pulumi (https://www.pulumi.com/docs/install/) and put `pulumi` on PATH.\n"
    "  2. With access to a Go module proxy: install Go 1.21 or newer (https://go.dev/dl/). "
    "The Pulumi CLI is then built from its published modules."
)


class PulumiCliUnavailable(Exception):
    """The Pulumi CLI is not available by the chosen method. The message says what to do."""


def log(message: str) -> None:
    """Print a progress line to standard error."""
    go_build.log(f"Pulumi CLI: {message}")


def read_pinned_version() -> str:
    """Return the version that cli/go.mod pins, without the v."""
    match = re.search(r"pulumi/pkg/v3 v(\S+)", (HERE / "cli" / "go.mod").read_text())
    if match is None:
        raise PulumiCliUnavailable(f"{HERE / 'cli' / 'go.mod'} does not pin github.com/pulumi/pulumi/pkg/v3")
    return match.group(1)


def find_on_path(_version: str) -> Path:
    """Return the folder of the `pulumi` on PATH, if its version is supported and its Python language host is there."""
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
            f"{pulumi} is version {output or 'unknown'}; {minimum} or newer is required, "
            "because older versions do not pass stack configuration to dynamic providers."
        )
    folder = Path(pulumi).resolve().parent
    if not (folder / "pulumi-language-python").exists() and shutil.which("pulumi-language-python") is None:
        raise PulumiCliUnavailable(f"{pulumi} has no pulumi-language-python in its folder or on PATH.")
    return Path(pulumi).parent


def install(version: str) -> Path:
    """Run the official installer into this user's cache and return the folder of the programs."""

    def run_installer(root: Path) -> None:
        log(f"installing Pulumi {version} with the official installer ...")
        try:
            from pulumi.automation import PulumiCommand  # noqa: PLC0415  the SDK is needed only here
            from semver import VersionInfo  # noqa: PLC0415
        except ImportError as error:
            raise PulumiCliUnavailable(f"the Pulumi SDK is not installed in {sys.executable}") from error
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(INSTALLER_TIMEOUT_SECONDS)  # the SDK sets no timeout
        try:
            PulumiCommand.install(root=str(root), version=VersionInfo.parse(version))
        except subprocess.CalledProcessError as error:
            last = (error.output or b"").decode(errors="replace").strip().splitlines()[-1:]
            raise PulumiCliUnavailable(f"the official installer failed: {' '.join(last) or error}") from error
        except OSError as error:
            raise PulumiCliUnavailable(f"the official installer cannot be reached ({error}).") from error
        finally:
            socket.setdefaulttimeout(before)

    return go_build.cache_or_create(CACHE / f"{version}-installed", "pulumi", run_installer)


def build_python_host(target: Path, **stamp: str) -> None:
    """Build the language host with python-host/plugin_directory.go, without which it starts no policy pack."""
    source = Path(go_build.run_go(HOST, "list", "-f", "{{.Dir}}", HOST_PACKAGE).strip()) / "main.go"
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("go.mod", "go.sum", HOST_PATCH.name):
            shutil.copy(HOST / name, scratch)
        text = source.read_text().replace("[]string{req.Program}", "[]string{pluginDirectory(req)}")
        (Path(scratch) / "main.go").write_text(text)
        go_build.compile_package(Path(scratch), ".", target, **stamp)


def build(version: str) -> Path:
    """Build the pinned Go modules into this user's cache and return the folder of the programs."""

    def run_build(root: Path) -> None:
        go_build.find_go()
        log(
            f"building Pulumi {version} from its Go modules. This takes about 6 minutes on 2 cores. "
            "The result is cached for this user."
        )
        folder = root / "bin"
        stamp = {f"{SDK_MODULE}/go/common/version.Version": f"v{version}"}
        go_build.compile_package(HERE / "cli", CLI_PACKAGE, folder / "pulumi", **stamp)
        build_python_host(folder / "pulumi-language-python", **stamp)
        sdk = Path(go_build.run_go(HERE / "cli", "list", "-m", "-f", "{{.Dir}}", SDK_MODULE).strip())
        for script in ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python"):
            target = folder / Path(script).name
            shutil.copyfile(sdk / script, target)
            target.chmod(0o755)

    try:
        return go_build.cache_or_create(CACHE / built_name(version), "pulumi", run_build)
    except go_build.BuildFailed as error:
        raise PulumiCliUnavailable(str(error)) from error


def built_name(version: str) -> str:
    """Return the name of the cached build, which changes with the language host."""
    return f"{version}-built-{hashlib.sha256(HOST_PATCH.read_bytes()).hexdigest()[:8]}"


def find_cached(version: str) -> Path:
    """Return the folder of a version that an earlier run cached."""
    for name in (f"{version}-installed", built_name(version)):
        if (CACHE / name / "bin" / "pulumi").exists():
            return CACHE / name / "bin"
    raise PulumiCliUnavailable("")


METHODS: dict[str, Callable[[str], Path]] = {"path": find_on_path, "install": install, "build": build}


def find_pulumi_cli(choice: str) -> Path:
    """Return the folder of `pulumi` by the chosen method, or by the first that succeeds if the choice is empty."""
    if choice and choice not in METHODS:
        raise PulumiCliUnavailable(f"PULUMI_CLI={choice} is not a method: use {', '.join(METHODS)}, or unset it.")
    methods = [METHODS[choice]] if choice else [find_on_path, find_cached, install, build]
    reasons = []
    for method in methods:
        try:
            return method(read_pinned_version())
        except PulumiCliUnavailable as error:  # noqa: PERF203  the next method follows
            if str(error):
                reasons.append(str(error))
                if method is not find_on_path:
                    log(str(error))
    raise PulumiCliUnavailable("The Pulumi CLI is not available.\n  " + "\n  ".join(reasons) + "\n" + INSTALL_HINT)


def main() -> int:
    """Print the folder of the programs."""
    try:
        print(find_pulumi_cli(os.environ.get("PULUMI_CLI", "")))
    except PulumiCliUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
