"""This project in an empty folder with its own backend, run by the real `pulumi`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from thingspace_provider.lifecycle.listener_process import DetachedProcess

TOP = Path(__file__).resolve().parent.parent.parent
TYPE = "pulumi-python:dynamic/thingspace:"
PASSPHRASE = "development"
GOLDEN_BASE_URL = "http://127.0.0.1:8700/api"  # of the states in tests/providers/states
PULUMI = ("pulumi", "--non-interactive", "--color", "never")


@dataclass(frozen=True)
class CommandResult:
    """Output of both streams and exit status of a command."""

    output: str
    status: int

    @property
    def changes(self) -> str:
        """The summary of resources, as "+ 6 created" lines."""
        match = re.search(r"Resources:\n((?:    .*\n)+)", self.output)
        return match.group(1) if match else ""

    @property
    def errors(self) -> list[str]:
        """The "error:" messages of the diagnostics, without the engine's summary line."""
        diagnostics = self.output.partition("Diagnostics:")[2]
        messages = re.findall(r"^\s+error: (.*)$", diagnostics, flags=re.MULTILINE)
        return [line for line in messages if line not in {"update failed", "preview failed"}]


class RunningCommand:
    """A running `pulumi` command in its own process group, as a terminal starts it."""

    def __init__(self, folder: Path, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
        self._folder = folder
        self._printed = folder.parent / "printed"
        with self._printed.open("wb") as file:
            self._process = subprocess.Popen(
                [*PULUMI, *arguments],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Output so far."""
        return self._printed.read_text()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Send SIGINT to the process group, as Ctrl-C does."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill the Pulumi CLI with SIGKILL; its child processes continue."""
        self._process.kill()

    def kill_provider(self) -> None:
        """Kill the provider process with SIGKILL."""
        [pid] = [pid for pid, command in self.plugins().items() if "\0pulumi.dynamic\0" in command]
        os.kill(pid, signal.SIGKILL)

    def plugins(self) -> dict[int, str]:
        """Return the other processes in the program's folder: command lines by process id."""
        processes = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == self._folder and int(entry.name) != self._process.pid:
                    processes[int(entry.name)] = (entry / "cmdline").read_text()
        return processes

    def end(self, seconds: float = 60.0) -> CommandResult:
        """Wait for the end and return output and exit status."""
        self._process.wait(seconds)
        return CommandResult(self.output, self._process.returncode)

    def clean_up(self) -> None:
        """Kill the processes that a killed Pulumi CLI has left running."""
        self._process.kill()
        self._process.wait(30)
        for pid in self.plugins():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Project:
    """Copy of Pulumi.yaml, __main__.py and stacks/, with its own state."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        for name in ("Pulumi.yaml", "__main__.py"):
            shutil.copy(TOP / name, self.folder)
        shutil.copytree(TOP / "stacks", self.folder / "stacks")
        (self.folder / ".venv").symlink_to(sys.prefix)  # the environment that runs the tests
        (folder / "state").mkdir()
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("THINGSPACE_", "PULUMI_"))},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PULUMI_BACKEND_URL": (folder / "state").as_uri(),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "true",
            **settings,
        }
        self.printed: list[str] = []
        self._commands: list[RunningCommand] = []

    def pulumi(self, *arguments: str, fails: bool = False) -> CommandResult:
        """Run `pulumi` and check whether it fails as expected."""
        done = subprocess.run(
            [*PULUMI, *arguments],
            cwd=self.folder,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        self.printed.append(done.stdout)
        assert (done.returncode != 0) == fails, done.stdout
        return CommandResult(done.stdout, done.returncode)

    def start(self, *arguments: str) -> RunningCommand:
        """Start `pulumi` without waiting for its end."""
        self._commands.append(RunningCommand(self.folder, self.environment, arguments))
        return self._commands[-1]

    def clean_up(self) -> None:
        """Kill the processes that killed commands have left running."""
        for command in self._commands:
            command.clean_up()

    def init(self, stack: str) -> None:
        self.pulumi("stack", "init", stack)

    def configure(self, key: str, value: str, *flags: str) -> None:
        self.pulumi("config", "set", *flags, key, value)

    def configure_secret(self, key: str, value: str) -> None:
        """Set a secret by standard input, so that no process title has it."""
        command = [*PULUMI, "config", "set", "--secret", key]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, input=value, text=True, timeout=60)

    def write_stack(self, content: str, stack: str = "dev") -> None:
        """Replace a stack file, keeping the salt of its state."""
        file = self.folder / "stacks" / f"Pulumi.{stack}.yaml"
        salt = [line for line in file.read_text().splitlines() if line.startswith("encryptionsalt")]
        file.write_text("\n".join([content, *salt, ""]))

    def up(self, *arguments: str, fails: bool = False) -> CommandResult:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, fails=fails)

    def preview(self, *arguments: str, fails: bool = False) -> CommandResult:
        return self.pulumi("preview", *arguments, fails=fails)

    def refresh(self, *arguments: str, fails: bool = False) -> CommandResult:
        return self.pulumi("refresh", "--yes", "--skip-preview", *arguments, fails=fails)

    def destroy(self, *arguments: str, fails: bool = False) -> CommandResult:
        return self.pulumi("destroy", "--yes", "--skip-preview", *arguments, fails=fails)

    def export(self, *, secrets: bool = False) -> str:
        arguments = ["stack", "export", *(["--show-secrets"] if secrets else [])]
        done = subprocess.run(
            ["pulumi", *arguments], cwd=self.folder, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """Return the resources of a type in the state, with secrets in plain text."""
        listed = json.loads(self.export(secrets=True))["deployment"].get("resources", [])
        return [reveal_secrets(resource) for resource in listed if resource["type"] == TYPE + kind]

    @property
    def listener_folder(self) -> Path:
        return self.folder / ".thingspace" / "listeners" / "dev-listener"

    def listener_pid(self) -> int | None:
        return DetachedProcess(self.listener_folder / "listener.pid").running_pid()

    def fetch_stored_messages(self) -> list[str]:
        """Return the messages that the local listener has stored."""
        settings = json.loads((self.listener_folder / "settings.json").read_text())
        response = requests.get(
            f"http://{settings['host']}:{settings['port']}/v1/messages?limit=1000",
            headers={"Authorization": f"Bearer {settings['apiToken']}"},
            timeout=10,
        )
        assert response.ok, response.text
        return [message["text"] for message in response.json()["messages"]]

    def stop_listeners(self) -> None:
        """Stop the listeners that a failed test has left running."""
        for pid_file in self.folder.glob(".thingspace/listeners/*/listener.pid"):
            DetachedProcess(pid_file).stop()


def reveal_secrets(value: Any) -> Any:
    """Replace the secrets of an export with --show-secrets by their values."""
    if isinstance(value, dict):
        if "4dabf18193072939515e22adb298388d" in value:
            return json.loads(value["plaintext"])
        return {key: reveal_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal_secrets(item) for item in value]
    return value
