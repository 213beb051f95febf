"""The real `thingspace listener` as a process of its own, spoken to over real HTTP."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from tests.support.waiting import time_limit

ACCOUNT, OTHER_ACCOUNT = "0000123456-00001", "0000123456-00002"
USERNAME, PASSWORD, PREVIOUS = "plant-a", "invented-password-1", "invented-password-0"
PATH_TOKEN, API_TOKEN = "invented-path-token", "invented-api-token"
# Of the processes that run tests beside each other, each has a thousand ports of its own, and gives none twice.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(20_000 + 1000 * (WORKER % 8), 21_000 + 1000 * (WORKER % 8))
reserved_ports: set[int] = set()
COMMAND = [sys.executable, "-m", "thingspace_provider.cli", "listener"]


def build_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """A complete settings file's content; a change to None leaves the key out."""
    complete = {
        "accounts": [ACCOUNT, OTHER_ACCOUNT],
        "username": USERNAME,
        "password": PASSWORD,
        "previousPasswords": [PREVIOUS],
        "pathToken": PATH_TOKEN,
        "apiToken": API_TOKEN,
        "store": f"sqlite:///{folder / 'inbox.sqlite3'}",
        "port": 0,
        **changes,
    }
    return {key: value for key, value in complete.items() if value is not None}


def build_text_callback(message: str = "T=21.5", device: str = "5551230001", **more: Any) -> dict[str, Any]:
    """The body of a device's text, as the reference has it; None removes a member."""
    body = {
        "username": USERNAME,
        "password": PASSWORD,
        "deviceIds": [{"id": device, "kind": "mdn"}],
        "smsMessage": message,
        **more,
    }
    return {key: value for key, value in body.items() if value is not None}


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("THINGSPACE_")} | more


def reserve_port() -> int:
    """A free port that the system gives to no outgoing connection, and no test beside, also while its owner is down."""
    while True:
        # Below those that LocalListener chooses from. Hypothesis makes any other random the same each time.
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as connection:
            if port not in reserved_ports and connection.connect_ex(("127.0.0.1", port)):
                reserved_ports.add(port)
                return port


class NotReady(AssertionError):
    """It ended before it was ready; `status` is how, the text is its log."""

    def __init__(self, status: int, log: str) -> None:
        super().__init__(log)
        self.status = status


class ListenerProcess:
    """Started when made, ready when made; end it with `stop` or `kill`."""

    def __init__(self, folder: Path, *options: str, before: tuple[str, ...] = (), **changes: Any) -> None:
        self.folder = folder
        self.file = folder / "settings.json"
        self.log = folder / "listener.log"
        self.write(**changes)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*before, *COMMAND, "--settings", str(self.file), "--json", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(),
            )
        assert self.process.stdout
        self.session = requests.Session()
        self.session.trust_env = False
        with time_limit(self.process):
            first = self.process.stdout.readline()
        if not first:
            raise NotReady(self._wait_for_exit(), self.log.read_text())
        self.ready = json.loads(first)
        self.url = self.ready["url"]

    def write(self, **changes: Any) -> None:
        self.file.write_text(json.dumps(build_settings(self.folder, **changes)))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def path(self, account: str = ACCOUNT) -> str:
        return f"/callbacks/{PATH_TOKEN}/{account}"

    def post(self, body: dict[str, Any] | bytes, path: str | None = None, **headers: str) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.session.post(self.url + (path or self.path()), data=data, headers=headers, timeout=10)

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.session.get(self.url + path, headers=headers, timeout=10)

    def fetch_page(self, token: str = API_TOKEN, **parameters: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        response = self.session.get(f"{self.url}/v1/messages", params=parameters, headers=headers, timeout=10)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def messages(self, **parameters: Any) -> list[dict[str, Any]]:
        """Every message, read page by page as a polling reader does."""
        messages: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.fetch_page(**({"after": cursor} if cursor else {}), limit=1000, **parameters)
            if not page["messages"]:
                return messages
            messages += page["messages"]
            cursor = page["next"]

    def message_texts(self) -> list[str]:
        return [message["text"] for message in self.messages()]

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait_for_exit()

    def kill(self) -> None:
        """SIGKILL: nothing is said good-bye to."""
        self.process.kill()
        self._wait_for_exit()

    def _wait_for_exit(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        self.session.close()
        return status
