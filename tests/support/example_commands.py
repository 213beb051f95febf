"""The commands of an example's README, run as written in a copy of its folder, with the built wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
EXAMPLES = TOP / "examples"
BASH = ("bash", "-euo", "pipefail")


def copy_example(name: str, folder: Path) -> list[str]:
    """Copy an example into a new folder and return the commands of its README."""
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    commands = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    assert commands[1].endswith("pip install -r requirements.txt")
    return commands


def build_wheel(folder: Path) -> None:
    """Build this project's wheel into the folder."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=TOP, check=True, capture_output=True, timeout=120)


def write_constraints(file: Path) -> None:
    """Write the versions that this project's lock file pins, as constraints for pip."""
    lock = (TOP / "requirements-dev.txt").read_text()
    file.write_text("\n".join(re.findall(r"^([\w.\[\]-]+==[^\s;\\]+[^\\\n]*)", lock, re.MULTILINE)))


def build_environment(distribution: Path, tmp_path: Path) -> dict[str, str]:
    """Return a user's environment, with the versions that this project's lock file pins."""
    constraints = tmp_path / "constraints.txt"
    write_constraints(constraints)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(Path(sys.base_prefix) / "bin" / Path(sys.executable).resolve().name)
    own = {key: value for key, value in os.environ.items() if not key.startswith(("THINGSPACE_", "PULUMI_", "VIRTUAL"))}
    return own | {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PIP_FIND_LINKS": str(distribution),
        "PIP_CONSTRAINT": str(constraints),
        "PIP_CACHE_DIR": str(Path.home() / ".cache" / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "true",
    }


def run_commands(commands: list[str], shell: tuple[str, ...], environment: dict[str, str], folder: Path) -> str:
    """Run the commands as one script of `bash -e`; the background processes end with it."""
    script = folder.parent / "script"
    script.write_text("set -m; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + "\n".join(commands) + "\n")
    done = subprocess.run(
        [*shell, str(script)],
        check=False,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def check_output(output: str, patterns: Iterable[str]) -> None:
    """Check that the output has all patterns, in their order."""
    position = 0
    for pattern in patterns:
        match = re.compile(pattern).search(output, position)
        assert match, f"{pattern!r} is missing in:\n{output[position:]}"
        position = match.end()
