"""Pictures of the emulator's page and the inbox page, in docs/images/ or another folder: `make pictures`.

Starts an emulator, a listener with two sinks, of which one fails, and Chromium. All names and messages are invented.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from thingspace_provider.api import Credentials, Registration, ThingSpaceClient
from thingspace_provider.emulator.emulator import EmulatorConfig
from thingspace_provider.emulator.runtime.server import EmulatorThread
from thingspace_provider.emulator.testing.client import EmulatorClient
from thingspace_provider.listener.callback_parser import parse_body
from thingspace_provider.listener.model import IncomingCallback
from thingspace_provider.listener.store.factory import open_store

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
ACCOUNTS = ("0000123456-00001", "0000123456-00002")
SERVICE = "EnhancedConnectivityService"
USERNAME, PASSWORD, TOKEN = "plant-a", "invented-password-1", "invented-api-token"
DAY_SECONDS, MESSAGES_OF_A_DAY = 24 * 3600, 900
SIZE: ViewportSize = {"width": 1280, "height": 720}
SETTLE_MS = 5000  # the inbox counts messages every three seconds


class Receiver(BaseHTTPRequestHandler):
    """Receiver of the sinks: accepts events at /erp, and nothing at other paths."""

    def do_POST(self) -> None:
        """Respond to one event."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204 if self.path == "/erp" else 503)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


def build_message(serial: int, sample: random.Random) -> tuple[str, str]:
    """Return a device and the text of its message."""
    text = sample.choice(
        (f"T={sample.gauss(21.5, 1):.1f}", f"level={sample.randrange(100)}%", "gate open", "gate shut")
    )
    return f"55512301{serial % 7:02}", text


def fill_store(url: str, sample: random.Random) -> None:
    """Store the messages of a day, most of them in its working hours."""
    store, now = open_store(url, []), time.time()
    times = [now - DAY_SECONDS * sample.random() for _ in range(MESSAGES_OF_A_DAY)]
    callbacks = []
    busy = [at for at in times if sample.random() < 0.55 - 0.45 * math.cos(at * 2 * math.pi / DAY_SECONDS)]
    for serial, at in enumerate(sorted(busy)):
        device, text = build_message(serial, sample)
        body = {"deviceIds": [{"kind": "mdn", "id": device}], "smsMessage": text}
        callback = parse_body(json.dumps(body).encode()).to_callback()
        callbacks.append(IncomingCallback(ACCOUNTS[serial % 5 == 0], round(at * 1e6), callback))
    store.append(callbacks)
    store.close()


def start_listener(folder: Path, emulator: EmulatorClient, receiver_url: str) -> subprocess.Popen[str]:
    """Start a listener."""
    secret = "whsec_" + "c2VjcmV0" * 4
    settings: dict[str, Any] = {
        "accounts": ACCOUNTS,
        "username": USERNAME,
        "password": PASSWORD,
        "pathToken": "invented-path-token",
        "apiToken": TOKEN,
        "store": f"sqlite:///{folder / 'inbox.sqlite3'}",
        "port": 0,
        "sinks": [
            {"name": name, "kind": "http", "url": f"{receiver_url}/{name}", "signingSecrets": [secret]}
            for name in ("erp", "warehouse")
        ],
        "recoveryMode": "history",
        "recoveryDelaySeconds": 0.2,
        "thingspaceCredentials": {
            "appKey": emulator.app_key,
            "appSecret": emulator.app_secret,
            "username": emulator.username,
            "password": emulator.password,
            "baseUrl": emulator.url,
        },
    }
    fill_store(settings["store"], random.Random(14))  # noqa: S311 - a picture needs no secret
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "thingspace_provider.cli", "listener", "--settings", folder / "settings.json", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def make_traffic(emulator: EmulatorClient, callback_urls: dict[str, str]) -> None:
    """Register the listener, send messages, and let a call and a delivery fail."""
    control = emulator.control
    client = ThingSpaceClient(
        Credentials(emulator.app_key, emulator.app_secret, emulator.username, emulator.password, emulator.url)
    )
    control("POST", "faults", {"operation": "startCallbacks", "response": {"status": 503}, "times": 2})
    control("POST", "messages", {"accountName": "0000987654-00001", "message": "level=17%", "repeat": 12})
    registration = Registration(SERVICE, callback_urls[ACCOUNTS[0]], USERNAME, PASSWORD)
    client.register_callback(ACCOUNTS[0], registration)
    wrong = Registration(SERVICE, callback_urls[ACCOUNTS[1]], USERNAME, "another-password-2")
    client.register_callback(ACCOUNTS[1], wrong)
    for account, text in ((0, "T=21.5"), (1, "T=19.8"), (0, "gate open"), (0, "T=21.6"), (0, "level=42%")):
        control("POST", "messages", {"accountName": ACCOUNTS[account], "message": text})
        time.sleep(0.3)
    client.start_callbacks(ACCOUNTS[0])
    control("POST", "messages", {"accountName": ACCOUNTS[0], "message": "gate shut"})


def take_picture(page: Page, path: Path) -> None:
    """Write a picture when the page has settled."""
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size // 1000} kB")


def take_pictures(browser: Browser, folder: Path, images: Path) -> None:
    """Take both pictures. `folder` is for the files of the listener."""
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    with EmulatorThread(EmulatorConfig(switches={"registrationPorts": "any"})) as running:
        emulator = EmulatorClient(running.root)
        process = start_listener(folder, emulator, f"http://127.0.0.1:{receiver.server_address[1]}")
        try:
            ready = json.loads(process.stdout.readline() if process.stdout else "")
            make_traffic(emulator, ready["callbackUrls"])
            page = browser.new_page(viewport=SIZE, timezone_id="America/New_York")
            page.goto(f"{emulator.root}/")
            take_picture(page, images / "emulator-page.png")
            page.goto(f"{ready['adminUrl']}/")
            page.fill("#token", TOKEN)
            page.press("#token", "Enter")
            take_picture(page, images / "inbox-page.png")
        finally:
            process.kill()
            process.wait()
            receiver.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's sandbox does not support root
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        take_pictures(chromium, Path(temporary), Path(sys.argv[1]) if sys.argv[1:] else IMAGES)
