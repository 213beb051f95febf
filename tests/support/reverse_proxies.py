"""Reverse proxies in front of a local server: nginx and HAProxy."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

START_SECONDS = 20

# WebSocket map of nginx's documentation, and persistent connections to the server.
NGINX = """
daemon off; user root; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 1; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            {request_body};
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 256
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    http-reuse always
frontend public
    bind 127.0.0.1:{port}
    default_backend listener
backend listener
    server listener 127.0.0.1:{backend} maxconn 1
"""


def nginx_command(folder: Path) -> list[str]:
    return ["nginx", "-p", str(folder), "-c", str(folder / "proxy.conf")]


def haproxy_command(folder: Path) -> list[str]:
    return ["haproxy", "-db", "-f", str(folder / "proxy.conf")]


# In both configurations of nginx, head and body of a request can arrive separately, as over a real network.
PROXIES: dict[str, tuple[str, str, Callable[[Path], list[str]]]] = {
    "nginx": (NGINX, "client_body_buffer_size 1k", nginx_command),
    "nginx without request buffering": (NGINX, "proxy_request_buffering off", nginx_command),
    "haproxy": (HAPROXY, "", haproxy_command),
}


def is_installed(name: str) -> bool:
    return shutil.which(name.split(maxsplit=1)[0], path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is not None


@contextmanager
def reverse_proxy(name: str, backend_port: int, port: int, folder: Path) -> Iterator[int]:
    """Run the proxy on a port of 127.0.0.1 until the block ends; yield the port."""
    configuration, request_body, command = PROXIES[name]
    (folder / "proxy.conf").write_text(
        configuration.format(folder=folder, port=port, backend=backend_port, request_body=request_body)
    )
    with run_proxy(command(folder), port, folder):
        yield port


@contextmanager
def run_proxy(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Run a proxy until the block ends. It must accept connections at the port of 127.0.0.1."""
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin", "HOME": str(folder)},
        )

    def accepts_connections() -> bool:
        assert process.poll() is None, (folder / "proxy.log").read_text()
        with socket.socket() as connection:
            return not connection.connect_ex(("127.0.0.1", port))

    try:
        wait_until(accepts_connections, START_SECONDS, f"{command[0]} accepts connections")
        yield
    finally:
        process.terminate()
        process.wait(20)
