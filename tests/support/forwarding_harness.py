"""Helpers for listeners that forward messages."""

from __future__ import annotations

import base64
import os
from typing import Any

from tests.support.listener_process import ListenerProcess, build_text_callback
from tests.support.webhook_receiver import Receiver

SECRET = f"whsec_{base64.b64encode(os.urandom(32)).decode()}"
DEVICE = "5551230002"


def build_sink(receiver: Receiver, name: str = "hub", **more: Any) -> dict[str, Any]:
    """Build a sink of the settings file."""
    return {"name": name, "kind": "http", "url": receiver.url, "signingSecrets": [SECRET], **more}


def send(listener: ListenerProcess, *messages: str, device: str = DEVICE) -> None:
    """Post messages of a device and require an acknowledgement of each."""
    for message in messages:
        assert listener.post(build_text_callback(message, device=device)).status_code == 200


def read_metric(listener: ListenerProcess, name: str, sink: str = "hub", **labels: str) -> float:
    """Return the value of a sink's metric."""
    expected_labels = ",".join(sorted([f'sink="{sink}"', *(f'{key}="{value}"' for key, value in labels.items())]))
    for line in listener.get("/metrics").text.splitlines():
        if line.startswith(f"{name}{{{expected_labels}}}"):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"{name} of {expected_labels} is not shown")
