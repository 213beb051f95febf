"""Each example is copied to an empty folder, and the commands of its README run as written, with the built wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
EXAMPLES = TOP / "examples"
LOCAL_EXAMPLES = ("minimal", "own-listener", "several-users", "automation-api", "without-pulumi")
MESSAGE = "T=21.5"
# What a run prints, beyond the exit status of each command.
EXPECTED_OUTPUT = {
    "minimal": [r"\+ 6 created", MESSAGE, "- 6 deleted"],
    "own-listener": [r"\+ 3 created", rf'"smsMessage": "{MESSAGE}"', "- 5 deleted"],
    "several-users": [r"\+ 11 created", "0000987654-00002", "- 11 deleted"],
    "automation-api": [
        r"\+ 8 created",
        r"\+ 2 created",
        "0000987654-00001 is sent to http://127.0.0.1:",
        "- 10 deleted",
    ],
    "without-pulumi": ["2 passed"],
}
# Commands without the package index run in namespaces of their own, because the examples use fixed ports. Processes of
# a failed run end with it.
BASH = ("bash", "-euo", "pipefail")
OWN_NETWORK = (
    *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
)


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the built wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=TOP, check=True, capture_output=True, timeout=120)
    return folder


def test_every_example_is_in_the_list_and_run() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {
        *LOCAL_EXAMPLES,
        *re.findall(r"^\| \[([\w-]+)\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE),
    }
    assert folders == {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert folders == {path.parent.name for path in EXAMPLES.glob("*/requirements.txt")}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own needs root")
@pytest.mark.parametrize("name", LOCAL_EXAMPLES)
def test_commands_of_the_readme_work_as_written(name: str, distribution: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    commands = _commands(folder / "README.md")
    assert commands[1].endswith("pip install -r requirements.txt")
    environment = _environment(distribution, tmp_path)
    _run(commands[:2], BASH, environment, folder)
    output = _run(commands[2:], (*OWN_NETWORK, *BASH), environment, folder)
    position = 0
    for pattern in EXPECTED_OUTPUT[name]:
        match = re.compile(pattern).search(output, position)
        assert match, f"{pattern!r} is missing in:\n{output[position:]}"
        position = match.end()


def _commands(readme: Path) -> list[str]:
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]


def _environment(distribution: Path, tmp_path: Path) -> dict[str, str]:
    """A user's environment, with the versions that this project's lock file pins."""
    constraints = tmp_path / "constraints.txt"
    pins = re.findall(r"^([\w.\[\]-]+==[^\s;\\]+[^\\\n]*)", (TOP / "requirements-dev.txt").read_text(), re.MULTILINE)
    constraints.write_text("\n".join(pins))
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


def _run(commands: list[str], shell: tuple[str, ...], environment: dict[str, str], folder: Path) -> str:
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
