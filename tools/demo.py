"""Demo of the complete system on this machine: `make demo`, and `make demo-down` after an interruption.

All its files are in .thingspace/demo, which git ignores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from thingspace_provider.common import timeouts
from thingspace_provider.common.file_lock import FileLock
from thingspace_provider.lifecycle.listener_process import DetachedProcess

TOP = Path(__file__).resolve().parent.parent
FOLDER = TOP / ".thingspace" / "demo"
EMULATOR_PID = FOLDER / "emulator.pid"
ACCOUNT = "0000123456-00001"
WAIT_SECONDS = 30.0


class DemoError(Exception):
    """A step failed. The message names the step and where to look."""


def print_step(message: str) -> None:
    """Print the explanation of a step, indented so that it stands out from command output."""
    print("\n" + textwrap.indent(textwrap.fill(" ".join(message.split()), 96), "## "), flush=True)


def run(environment: dict[str, str], *command: str) -> None:
    """Run a command and show it with its output."""
    print(f"$ {' '.join(command)}", flush=True)
    with subprocess.Popen(command, cwd=TOP, env=environment) as child:
        try:
            status = child.wait()
        except KeyboardInterrupt:
            child.wait()  # the command has received Ctrl-C too and ends
            raise
    if status != 0:
        raise DemoError(f"`{' '.join(command)}` exited with status {status}.")


class Emulator:
    """Emulator process and its control API."""

    def __init__(self) -> None:
        # The emulator inherits the lock on its pid file, so a later run can detect whether it still runs.
        lock = FileLock(EMULATOR_PID)
        lock.acquire()
        with (FOLDER / "emulator.log").open("w") as log:
            command = [sys.executable, "-m", "thingspace_provider.cli", "emulator", "--port", "0", "--json"]
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, pass_fds=[lock.descriptor], text=True
            )
        EMULATOR_PID.write_text(str(self._process.pid))
        lock.release()
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise DemoError(f"starting the emulator failed. See {FOLDER / 'emulator.log'}")
        self.ready: dict[str, Any] = json.loads(line)
        self._control = self.ready["url"].removesuffix("/api") + "/_emulator"

    def send_message(self, message: str) -> None:
        """Send a message from a device to ThingSpace."""
        print(f"The device sends {message!r} to ThingSpace.", flush=True)
        body = {"accountName": ACCOUNT, "message": message}
        requests.post(f"{self._control}/messages", json=body, timeout=10).raise_for_status()

    def count_queued(self) -> int:
        """Return the number of messages in ThingSpace's queue."""
        response = requests.get(f"{self._control}/queue", params={"accountName": ACCOUNT}, timeout=10).json()
        return len(response["messages"])

    def fetch_calls(self) -> list[str]:
        """Return the operations of all calls to ThingSpace so far."""
        response = requests.get(f"{self._control}/journal", timeout=10).json()
        return [call["operation"] for call in response["calls"]]


def stored_messages(environment: dict[str, str]) -> list[str]:
    """Return the messages that the listener has stored."""
    command = [sys.executable, "-m", "thingspace_provider.cli", "messages", "--json"]
    done = subprocess.run(command, cwd=TOP, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise DemoError(f"`thingspace messages` failed: {done.stderr.strip()}")
    return [message["text"] for message in json.loads(done.stdout)["messages"]]


def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Wait until the condition holds, or fail after WAIT_SECONDS."""
    if not timeouts.wait_until(condition, WAIT_SECONDS):
        raise DemoError(f"timed out after {WAIT_SECONDS:g} s: {description}.")


def prepare(emulator: Emulator) -> dict[str, str]:
    """Return an environment for the Pulumi CLI that is separate from your stacks and settings."""
    pulumi_cli = subprocess.run(
        [sys.executable, TOP / "tools/pulumi_cli/get.py"], check=False, stdout=subprocess.PIPE, text=True
    )
    if pulumi_cli.returncode != 0:
        raise DemoError("the Pulumi CLI is not available. The lines above say what to do.")
    (FOLDER / "state").mkdir()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PULUMI_", "THINGSPACE_"))}
    return {
        **inherited,
        "PATH": os.pathsep.join([pulumi_cli.stdout.strip(), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "VIRTUAL_ENV": str(TOP / ".venv"),
        "PULUMI_BACKEND_URL": (FOLDER / "state").as_uri(),
        "PULUMI_HOME": str(FOLDER / "pulumi"),
        "PULUMI_CONFIG_PASSPHRASE": "development",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "THINGSPACE_STATE_DIR": str(FOLDER.relative_to(TOP)),
        "THINGSPACE_BASE_URL": emulator.ready["url"],
        "THINGSPACE_APP_KEY": emulator.ready["appKey"],
        "THINGSPACE_APP_SECRET": emulator.ready["appSecret"],
        "THINGSPACE_USERNAME": emulator.ready["username"],
        "THINGSPACE_PASSWORD": emulator.ready["password"],
    }


def run_demo() -> None:
    """Run all steps."""
    print_step("Start a ThingSpace emulator on this machine, so that the demo needs no Verizon account.")
    emulator = Emulator()
    print(f"The emulator listens on {emulator.ready['url']}.")
    environment = prepare(emulator)
    pulumi = ("pulumi", "--non-interactive", "--stack", "dev")

    print_step("A device sends two messages. No listener is registered yet, so ThingSpace queues them.")
    emulator.send_message("T=21.5")
    emulator.send_message("T=21.7")
    print(f"Messages in ThingSpace's queue: {emulator.count_queued()}")

    print_step(
        "`pulumi up` starts the listener, probes its callback URL, registers the URL with ThingSpace and starts the "
        "callbacks. ThingSpace then delivers the queued messages."
    )
    run(environment, *pulumi[:2], "stack", "init", "dev")
    run(environment, *pulumi, "up", "--yes", "--skip-preview")
    wait_until(lambda: len(stored_messages(environment)) == 2, "the listener stores the two queued messages")  # noqa: PLR2004
    print(f"Calls to ThingSpace: {', '.join(emulator.fetch_calls())}")
    print(f"Messages in ThingSpace's queue: {emulator.count_queued()}")
    print(f"Messages in the listener's inbox: {len(stored_messages(environment))}")

    print_step("A third message arrives without queueing. `thingspace messages` shows all stored messages.")
    emulator.send_message("T=21.9")
    wait_until(lambda: len(stored_messages(environment)) == 3, "the listener stores the third message")  # noqa: PLR2004
    run(environment, "thingspace", "messages")

    print_step("A second `pulumi up` finds no changes and sends no calls to ThingSpace.")
    before = len(emulator.fetch_calls())
    run(environment, *pulumi, "up", "--yes", "--skip-preview", "--expect-no-changes")
    print(f"Calls to ThingSpace in this update: {len(emulator.fetch_calls()) - before}")

    print_step("`pulumi destroy` removes the registration and stops the listener.")
    before = len(emulator.fetch_calls())
    run(environment, *pulumi, "destroy", "--yes", "--skip-preview")
    print(f"Calls to ThingSpace in this update: {', '.join(emulator.fetch_calls()[before:])}")


def clean_up() -> list[str]:
    """Stop all processes of a demo and remove its files; return the names of the stopped processes."""
    ended = []
    pid_files = [EMULATOR_PID, *FOLDER.glob("listeners/*/listener.pid")]
    for pid_file in pid_files:
        if DetachedProcess(pid_file).running_pid() is not None:
            DetachedProcess(pid_file).stop()
            ended.append(pid_file.stem)
    shutil.rmtree(FOLDER, ignore_errors=True)
    return ended


def main() -> int:
    """Run the demo, or only clean up if --down is given."""
    left = clean_up()
    if left:
        print(f"Stopped processes of an earlier demo: {', '.join(left)}")
    if "--down" in sys.argv:
        print("No process of a demo is running.")
        return 0
    FOLDER.mkdir(parents=True)
    started = time.monotonic()
    try:
        run_demo()
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run `make demo` to start again.", file=sys.stderr)
        return 130
    finally:
        clean_up()
    print_step(f"Done in {time.monotonic() - started:.0f} s. All processes have stopped. Continue with README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
