"""Process of `thingspace listener`, and requests to it over HTTP."""

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
# Each pytest-xdist worker has its own range of 1000 ports and reserves none twice.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(20_000 + 1000 * (WORKER % 8), 21_000 + 1000 * (WORKER % 8))
reserved_ports: set[int] = set()
COMMAND = [sys.executable, "-m", "thingspace_provider.cli", "listener"]


def build_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Build complete settings. A change to None removes the key."""
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
    """Build the body of a device message as the API reference shows it. None removes a member."""
    body = {
        "username": USERNAME,
        "password": PASSWORD,
        "deviceIds": [{"id": device, "kind": "mdn"}],
        "smsMessage": message,
        **more,
    }
    return {key: value for key, value in body.items() if value is not None}


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without this project's variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("THINGSPACE_")} | more


def reserve_port() -> int:
    """Reserve a free port that neither outgoing connections nor other tests use, even while its server is down."""
    while True:
        # Lower than the ports of LocalListener. Hypothesis seeds every other random generator.
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as connection:
            if port not in reserved_ports and connection.connect_ex(("127.0.0.1", port)):
                reserved_ports.add(port)
                return port


class NotReady(AssertionError):
    """The listener exited before it was ready. `status` is its exit status; the message is its log."""

    def __init__(self, status: int, log: str) -> None:
        super().__init__(log)
        self.status = status


class ListenerProcess:
    """Listener that is ready after construction. Stop it with `stop` or `kill`."""

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
        self.url, self.admin_url = self.ready["url"], self.ready["adminUrl"]

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
        url = self.url if path.startswith("/callbacks/") else self.admin_url
        return self.session.get(url + path, headers=headers, timeout=10)

    def fetch_page(self, token: str = API_TOKEN, **parameters: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        response = self.session.get(f"{self.admin_url}/v1/messages", params=parameters, headers=headers, timeout=10)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def messages(self, **parameters: Any) -> list[dict[str, Any]]:
        """Return all messages, read page by page."""
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
        """Stop the listener with SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait_for_exit()

    def kill(self) -> None:
        """Kill the listener with SIGKILL."""
        self.process.kill()
        self._wait_for_exit()

    def _wait_for_exit(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        self.session.close()
        return status
