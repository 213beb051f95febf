"""tinyproxy, an HTTP proxy for outgoing connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.listener_process import reserve_port
from tests.support.reverse_proxies import is_installed, run_proxy

needs_tinyproxy = pytest.mark.skipif(not is_installed("tinyproxy"), reason="not installed: tinyproxy")
USER, PASSWORD = "sink-user", "invented-proxy-password"


@dataclass(frozen=True)
class ForwardProxy:
    """URL of the proxy with its credentials, and its log."""

    url: str
    log: Path


@contextmanager
def run_tinyproxy(folder: Path) -> Iterator[ForwardProxy]:
    """Run the proxy until the block ends."""
    port, file = reserve_port(), folder / "tinyproxy.conf"
    file.write_text(f"Port {port}\nListen 127.0.0.1\nLogLevel Connect\nBasicAuth {USER} {PASSWORD}\n")
    with run_proxy(["tinyproxy", "-d", "-c", str(file)], port, folder):
        yield ForwardProxy(f"http://{USER}:{PASSWORD}@127.0.0.1:{port}", folder / "proxy.log")
