"""Shared code of the drills: an emulator, a stack and a listener in a temporary folder, and checked steps.

A drill touches nothing else: it has its own HOME, state directory and Pulumi backend, and calls the emulator only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import urlopen

import yaml

from thingspace_provider.common.urls import is_loopback
from thingspace_provider.emulator.testing.client import EmulatorClient

if TYPE_CHECKING:
    from typing_extensions import Self

ACCOUNT = "0000123456-00001"
CREDENTIAL = "**CallbackCredential::credential"
SIGNING_SECRET = "whsec_YW4taW52ZW50ZWQtc2VjcmV0LW9mLTMyLWJ5dGVzISE="  # noqa: S105  of a receiver that lives for a minute
# Ports that ThingSpace accepts. A LocalListener takes the lowest free one from 28200 on, also while a drill's is down.
ACCEPTED_PORTS = (*range(9001, 9007), *range(28220, 28199, -1))
WAIT_SECONDS = 30.0
RETRY_SECONDS = 10  # after which ThingSpace has repeated a failed callback and queues the message
PROGRAM = """
import pulumi
from thingspace_provider import CallbackCredential, SmsCallbacks, StackSettings, create_listener_host

settings = StackSettings.load()
credential = CallbackCredential("credential", rotation=settings.rotation)
listener = create_listener_host("listener", settings.listener, settings.accounts, credential)
SmsCallbacks("sms", account_names=settings.accounts, listener=listener, credential=credential,
             triggers=settings.triggers, adopt=settings.adopt)
pulumi.export("listenerCredential", credential.listener_settings)
"""


class DrillFailed(Exception):
    """The expected outcome did not come, or a step failed."""


class Lab:
    """Everything a drill uses. A context manager: it stops its processes and removes its files, also after Ctrl-C."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="thingspace-drill-"))
        self._steps = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self.listeners: list[Listener] = []
        self.receivers: list[Receiver] = []
        self.sent: Counter[str] = Counter()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self.project, state = self.folder / "project", self.folder / "state"
        for folder in (self.project, state, self.folder / "home"):
            folder.mkdir()
        (self.project / "__main__.py").write_text(PROGRAM)
        in_environment = {"virtualenv": sys.prefix} if sys.prefix != sys.base_prefix else {}
        options = {"toolchain": "pip", **in_environment}
        content = {"name": "drill", "runtime": {"name": "python", "options": options}}
        (self.project / "Pulumi.yaml").write_text(yaml.safe_dump(content))
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "THINGSPACE_"))
        }
        self.environment = {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.folder / "home"),
            "XDG_STATE_HOME": str(self.folder / "home" / "state"),
            "PULUMI_HOME": str(self.folder / "home" / "pulumi"),
            "PULUMI_BACKEND_URL": state.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "drill",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
        started = self.start_process("emulator", "--port", "0", "--json", log=self.folder / "emulator.log")
        if not is_loopback(urlsplit(started["url"]).hostname or ""):
            raise DrillFailed(f"{started['url']} is not on this machine")
        self.emulator = EmulatorClient(started["url"].removesuffix("/api"))
        self.environment |= self.emulator.environment
        self.state = state

    def close(self) -> None:
        """Stop all processes and remove the folder."""
        for receiver in self.receivers:
            receiver.close()
        for process in self._processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def step(self, text: str) -> None:
        """Print the explanation of a step."""
        self._steps += 1
        print(f"\n{self._steps}. " + textwrap.fill(" ".join(text.split()), 100, subsequent_indent="   "), flush=True)

    def expect(self, condition: Callable[[], bool], text: str) -> None:
        """Wait until the condition holds and print what the operator sees. Raises DrillFailed."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise DrillFailed(f"expected within {WAIT_SECONDS:g} s: {text}")
            time.sleep(0.05)
        print(f"   ok: {text}", flush=True)

    def run(self, *command: str, fails: bool = False, **variables: str) -> str:
        """Run a command, show it with its output, and return the output. Raises DrillFailed if its status is wrong."""
        output = self.run_quietly(*command, fails=fails, **variables)
        print(textwrap.indent(output.rstrip(), "   | "), flush=True)
        return output

    def run_quietly(self, *command: str, fails: bool = False, **variables: str) -> str:
        """Run a command whose output can hold a secret. See `run`."""
        settings = "".join(f"{name}=… " for name in variables)
        print(f"   $ {settings}{' '.join(command)}", flush=True)
        child = subprocess.Popen(
            command,
            cwd=self.project,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _ = child.communicate()
        except BaseException:
            child.send_signal(signal.SIGINT)  # SIGTERM has reached this process only
            child.wait()
            raise
        if (child.returncode != 0) != fails:
            expected = "a failure" if fails else "success"
            raise DrillFailed(f"{' '.join(command)} exited with {child.returncode}, expected {expected}:\n{output}")
        return output

    def pulumi(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        """Run the Pulumi CLI without its list of resources, which a drill does not need."""
        command = ("pulumi", "--non-interactive", "--color", "never", *arguments)
        output = self.run_quietly(*command, fails=fails, **variables)
        _, found, diagnostics = output.partition("Diagnostics:")
        summary = diagnostics if found else output.partition("Resources:")[2]
        print(textwrap.indent(summary.strip("\n"), "   | "), flush=True)
        return output

    def up(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        """Run `pulumi up`."""
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, fails=fails, **variables)

    def write_stack(self, url: str, *, readiness: bool = True, **values: Any) -> None:
        """Write the stack file. The salt of the passphrase is kept."""
        file = self.project / "Pulumi.dev.yaml"
        before = yaml.safe_load(file.read_text()) if file.exists() else {}
        host = {"kind": "external", "url": url, "readiness": readiness}
        config = {"thingspace:accounts": [ACCOUNT], "thingspace:listener": host}
        config |= {f"thingspace:{key}": value for key, value in values.items()}
        file.write_text(yaml.safe_dump({**before, "config": config}))

    def create_stack(self, url: str, **values: Any) -> None:
        """Create the stack and its callback credential."""
        self.write_stack(url, **values)
        self.run_quietly("pulumi", "--non-interactive", "stack", "init", "dev")
        self.up("--target", CREDENTIAL)

    def fetch_credential(self) -> dict[str, Any]:
        """Return the settings of a listener from the output of the stack. They are secrets."""
        return dict(
            json.loads(self.run_quietly("pulumi", "stack", "output", "listenerCredential", "--show-secrets", "--json"))
        )

    def deploy(self, **settings: Any) -> Listener:
        """Create credential, listener and registration, as docs/virtual-machines.md describes."""
        listener = Listener(self, "listener")
        self.create_stack(listener.stack_url)
        listener.start(**self.fetch_credential(), **settings)
        self.up()
        return listener

    def send(self, *messages: str) -> None:
        """Send messages as a device."""
        for message in messages:
            self.emulator.send_message(message, ACCOUNT)
            self.sent[message] += 1

    def let_thingspace_retry(self) -> None:
        """Advance ThingSpace's clock until it queues what it could not deliver."""
        self.emulator.wait_until_idle()
        self.emulator.advance(RETRY_SECONDS)

    def count_queued(self) -> int:
        """Return the number of messages in ThingSpace's queue."""
        return len(self.emulator.queue(ACCOUNT))

    def stored(self) -> Counter[str]:
        """Return the messages in the stores of all listeners, without duplicates."""
        return Counter(message["text"] for listener in self.listeners for message in listener.messages())

    def start_process(self, *command: str, log: Path) -> dict[str, Any]:
        """Start `thingspace` with a command that prints one line of JSON when it is ready, and return that."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "thingspace_provider", *command],
                stdout=subprocess.PIPE,
                stderr=file,
                env=self.environment,
                start_new_session=True,  # Ctrl-C must not stop it before the clean-up
            )
        self._processes.append(process)
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise DrillFailed(f"`thingspace {command[0]}` does not start: {log.read_text()}")
        return {**json.loads(line), "process": process}


class Listener:
    """Listener on this machine with its own directory. It keeps its port and store over restarts."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab = lab
        self.folder = lab.folder / name
        self.folder.mkdir(mode=0o700)
        self.log = self.folder / "listener.log"
        self._reservation = next(filter(None, map(_reserve, ACCEPTED_PORTS)))
        self.port: int = self._reservation.getsockname()[1]
        self.stack_url = f"http://127.0.0.1:{self.port}/callbacks/{{path_token}}/{{account}}"
        self._settings: dict[str, Any] = {}
        lab.listeners.append(self)

    def start(self, **settings: Any) -> None:
        """Start with these settings, or with those of the last start."""
        self.write_settings(**settings)
        self._reservation.close()
        options = ("--settings", str(self.folder / "settings.json"), "--json")
        self._process: subprocess.Popen[bytes] = self._lab.start_process("listener", *options, log=self.log)["process"]

    def write_settings(self, **settings: Any) -> None:
        """Change settings. A running listener reloads the file."""
        defaults = {
            "accounts": [ACCOUNT],
            "store": f"sqlite:///{self.folder / 'inbox.sqlite3'}",
            "port": self.port,
            "sourceAddressPolicy": "off",  # the emulator sends from this machine
        }
        self._settings = {**defaults, **self._settings, **settings}
        file = self.folder / "settings.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(self._settings))

    def kill(self) -> None:
        """End the process as a power cut does."""
        self._process.kill()
        self._process.wait()
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", self.port))

    def remove_store(self) -> None:
        """Remove the files of the store."""
        for file in self.folder.glob("inbox.sqlite3*"):
            file.unlink()

    def messages(self) -> list[dict[str, Any]]:
        """Return the stored messages, without duplicates."""
        store = self.folder / "inbox.sqlite3"
        if not store.exists():
            return []
        command = ["-m", "thingspace_provider", "messages", "--store", str(store), "--json", "--limit", "1000"]
        done = subprocess.run(
            [sys.executable, *command], env=self._lab.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise DrillFailed(done.stderr)
        return [message for message in json.loads(done.stdout)["messages"] if message["duplicateOf"] is None]

    def count_events(self, event: str) -> int:
        """Return how often the log has an event."""
        return sum(json.loads(line)["event"] == event for line in self.log.read_text().splitlines() if line[0] == "{")

    def count_rejected(self) -> int:
        """Return the number of rejected callbacks, from the metrics."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(
            int(float(line.rpartition(" ")[2]))
            for line in lines
            if line.startswith("thingspace_callbacks_rejected_total{")
        )


class Receiver:
    """HTTP receiver of events. It responds with 503 while `is_available` is false."""

    def __init__(self, lab: Lab) -> None:
        self.is_available = True
        self.events: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.is_available:
                    receiver.events.append(json.loads(body))
                self.send_response(204 if receiver.is_available else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._server.server_port}/"
        self.sink = {"name": "hub", "kind": "http", "url": url, "signingSecrets": [SIGNING_SECRET]}
        lab.receivers.append(self)

    def texts(self) -> list[str]:
        """Return the content of each accepted event."""
        return [event["data"]["text"] for event in self.events]

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


class Traffic:
    """Context manager in which a device sends messages all the time."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_SECONDS)

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(0.2):  # far fewer than 1000 messages in a drill
            number += 1
            self._lab.send(f"live {number}")


def run_drill(drill: Callable[[Lab], None]) -> NoReturn:
    """Run a drill as a command. Exits with 0, 1 if the expected outcome did not come, 2 if it cannot start."""
    description = drill.__doc__ or ""
    argparse.ArgumentParser(description=description).parse_args()
    for reason in _obstacles():
        print(f"This drill cannot start: {reason}", file=sys.stderr)
        raise SystemExit(2)
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    print(textwrap.fill(" ".join(description.split()), 100), flush=True)
    try:
        with Lab() as lab:
            drill(lab)
    except DrillFailed as error:
        print(f"\nThe drill failed: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nInterrupted. All processes have stopped, and the files are removed.", file=sys.stderr)
        raise SystemExit(130) from None
    print(f"\nPassed in {time.monotonic() - started:.0f} s. All processes have stopped, and the files are removed.")
    raise SystemExit(0)


def _obstacles() -> Iterable[str]:
    url = os.environ.get("THINGSPACE_BASE_URL", "")
    if url and not is_loopback(urlsplit(url).hostname or ""):
        yield "THINGSPACE_BASE_URL names another machine. A drill starts an emulator: unset the variable."
    if shutil.which("pulumi") is None:
        yield "the Pulumi CLI is not on PATH."


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _reserve(port: int) -> socket.socket | None:
    """Bind a port that no other process uses, so that none takes it before the listener starts."""
    reservation = socket.socket()
    try:
        reservation.bind(("127.0.0.1", port))
    except OSError:
        reservation.close()
        return None
    return reservation
