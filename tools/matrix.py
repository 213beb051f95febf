"""Runs the tests with the oldest supported versions, with the oldest Python and with a new Python.

    python tools/matrix.py                each environment in turn, then a summary
    python tools/matrix.py oldest         one of them
    python tools/matrix.py 3.13 -- tests/api -x       with arguments for pytest

The tests run against the wheel, in a copy of the repository without `thingspace_provider/`. Environments are cached in
.matrix/ and replaced when their requirements change. The exit status is 1 if one failed. An
environment without a matching Python on this machine is listed as NOT RUN and does not count as failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
ENVIRONMENTS_DIRECTORY = TOP / ".matrix"


@dataclass(frozen=True)
class Environment:
    """Python version, installed requirements, and the tests that depend on them."""

    python: str
    requirements: str
    tests: tuple[str, ...]


ALL_TESTS = ("tests",)
SOURCE_TESTS = (
    "tests/docs",
    "tests/tools",
    "tests/deploy",
    "tests/examples",
    "tests/packaging",
    "tests/pipelines",
)  # they read the repository
SDK_TESTS = (
    "tests/api",
    "tests/lifecycle",
    "tests/policy/test_rules.py",
    "tests/providers",
    "tests/resources",
    "tests/listener/runtime/test_request_smuggling.py",  # it depends on the versions of uvicorn and httptools
    "tests/e2e/test_drift.py",
    "tests/e2e/test_state.py",
    "tests/e2e/test_end_to_end.py",
)
ENVIRONMENTS = {
    "oldest": Environment("3.10", "requirements-oldest.txt", SDK_TESTS),
    "3.10": Environment("3.10", "requirements-dev.txt", ALL_TESTS),
    "3.13": Environment("3.13", "requirements-dev.txt", ALL_TESTS),
}


def find_python(version: str) -> Path | None:
    """Find a Python of this version on PATH or in pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for candidate in (f"python{version}", *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))):
        try:
            output = subprocess.run(
                [candidate, "-c", "import sys; print(*sys.version_info[:2], sep='.'); print(sys.executable)"],
                capture_output=True,
                check=True,
                text=True,
            ).stdout.split()
        except (OSError, subprocess.CalledProcessError):  # pyenv has shims of versions that are not selected
            continue
        if output[0] == version:
            return Path(output[1])
    return None


def prepare(name: str, environment: Environment, python: Path) -> Path:
    """Return the folder of an environment without this package; create it if it is missing or outdated."""
    folder = ENVIRONMENTS_DIRECTORY / name
    ready = folder / "ready"
    requirements = (TOP / environment.requirements).read_text(encoding="utf-8")
    if ready.exists() and ready.read_text(encoding="utf-8") == requirements:
        return folder
    log(f"{name}: installing {environment.requirements} for Python {environment.python}")
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for command in (
        [str(python), "-m", "venv", "--clear", str(folder)],
        [*install, "--require-hashes", "-r", str(TOP / environment.requirements)],
    ):
        subprocess.run(command, check=True)
    ready.write_text(requirements, encoding="utf-8")
    return folder


def build_wheel() -> Path:
    """Build the wheel with the environment that runs this program, and return its path."""
    folder = ENVIRONMENTS_DIRECTORY / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    [wheel] = folder.iterdir()
    return wheel


def install(folder: Path, wheel: Path) -> Path:
    """Install the wheel, and return a copy of the repository without the package."""
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"]
    subprocess.run([*command, str(wheel)], check=True)
    tree = folder / "repository"
    shutil.rmtree(tree, ignore_errors=True)
    files = subprocess.run(["git", "ls-files"], cwd=TOP, check=True, capture_output=True, text=True).stdout.splitlines()
    for file in files:
        if not file.startswith("thingspace_provider/") and (TOP / file).exists():
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / file, tree / file)
    return tree


def run(name: str, folder: Path, tree: Path, pulumi_cli: str, arguments: list[str]) -> str:
    """Run pytest in the environment and return its summary line, after "FAILED" if it failed."""
    path = os.pathsep.join([pulumi_cli, str(folder / "bin"), os.environ["PATH"]])
    log(f"{name}: {' '.join(arguments)}")
    process = subprocess.Popen(
        [
            str(folder / "bin" / "python"),
            "-m",
            "pytest",
            "-q",
            "-n",
            "4",
            "--dist",
            "worksteal",
            "-m",
            "not long and not cluster",
            *(f"--ignore={tests}" for tests in SOURCE_TESTS),
            *arguments,
        ],
        cwd=tree,
        env={**os.environ, "PATH": path, "VIRTUAL_ENV": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    summary = "pytest printed no summary"
    for line in process.stdout or ():
        print(line, end="", flush=True)
        if re.search(r"\d+ (passed|failed|error|deselected).* in [\d.]+s", line):
            summary = line.strip("= \n")
    return summary if process.wait() == 0 else f"FAILED: {summary}"


def log(message: str) -> None:
    """Print a progress line."""
    print(f"== matrix {message}", flush=True)


def main() -> int:
    """Run the chosen environments one after the other, then print a summary."""
    arguments_given = [*sys.argv[1:], "--"]
    chosen = arguments_given[: arguments_given.index("--")] or list(ENVIRONMENTS)
    arguments = arguments_given[arguments_given.index("--") + 1 : -1]
    if unknown := set(chosen) - set(ENVIRONMENTS):
        print(f"unknown environment {', '.join(sorted(unknown))}: use {', '.join(ENVIRONMENTS)}", file=sys.stderr)
        return 2
    pulumi_cli = subprocess.run(
        [sys.executable, str(TOP / "tools" / "pulumi_cli" / "get.py")], stdout=subprocess.PIPE, check=True, text=True
    ).stdout.strip()
    wheel = build_wheel()
    results = {}
    for name in chosen:
        environment = ENVIRONMENTS[name]
        began = time.monotonic()
        python = find_python(environment.python)
        if python is None:
            results[name] = f"NOT RUN: this machine has no Python {environment.python}"
            log(f"{name}: {results[name]}")
            continue
        try:
            folder = prepare(name, environment, python)
            results[name] = run(name, folder, install(folder, wheel), pulumi_cli, arguments or list(environment.tests))
        except subprocess.CalledProcessError as error:
            results[name] = f"FAILED: {error}"
        results[name] += f" ({time.monotonic() - began:.0f} s in all)"
    print()
    for name, result in results.items():
        log(f"{name:7} {result}")
    return any(end.startswith("FAILED") for end in results.values())


if __name__ == "__main__":
    sys.exit(main())
