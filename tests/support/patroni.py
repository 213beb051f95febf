"""PostgreSQL cluster of three servers under Patroni and etcd, on loopback, with one synchronous standby.

Patroni is installed for each cluster from a file with hashes, and runs as the user of PostgreSQL. `haproxy` leads to
the primary, as in Patroni's documentation.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import postgres_server
from tests.support.listener_process import reserve_port
from tests.support.postgres_server import PASSWORD, USER, find_programs
from tests.support.waiting import wait_until

REQUIREMENTS = Path(__file__).with_name("patroni-requirements.txt")
UV = Path(sys.executable).with_name("uv")
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/bin")
MEMBERS = ("a", "b", "c")
START_TIMEOUT_SECONDS = 180
TTL_SECONDS = 20  # the least that Patroni accepts
CONFIGURATION = """
scope: inbox
name: {name}
restapi: {{listen: "127.0.0.1:{api_port}", connect_address: "127.0.0.1:{api_port}"}}
etcd3: {{hosts: "127.0.0.1:{etcd_port}"}}
bootstrap:
  dcs: {{ttl: {ttl}, loop_wait: 1, retry_timeout: 3, synchronous_mode: true}}
  initdb: [{{encoding: UTF8}}, {{auth-host: scram-sha-256}}, {{auth-local: scram-sha-256}}]
postgresql:
  listen: "127.0.0.1:{port}"
  connect_address: "127.0.0.1:{port}"
  data_dir: {folder}/{name}
  bin_dir: {programs}
  pgpass: {folder}/{name}.pgpass
  authentication:
    superuser: {{username: {user}, password: {password}}}
    replication: {{username: replicator, password: {password}}}
  parameters: {{unix_socket_directories: {folder}}}
  pg_hba:
  - local all all scram-sha-256
  - host all all 127.0.0.1/32 scram-sha-256
  - host replication all 127.0.0.1/32 scram-sha-256
"""
HAPROXY_CONFIGURATION = """
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen primary
  bind 127.0.0.1:{port}
  option httpchk GET /primary
  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def find_python() -> str | None:
    """Return a Python interpreter that the user of PostgreSQL can run."""
    user = "postgres" if os.getuid() == 0 else None
    for candidate in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            if not subprocess.run([candidate, "-c", ""], user=user, cwd="/", check=False).returncode:
                return candidate
    return None


def get_skip_reason() -> str:
    """Return why no cluster can start on this machine, or an empty string."""
    if reason := postgres_server.get_skip_reason():
        return reason
    if shutil.which("etcd") is None:
        return "Patroni is NOT TESTED here: install etcd-server"
    if find_python() is None:
        return "Patroni is NOT TESTED here: the user postgres can run no Python"
    return ""


class PatroniCluster:
    """Cluster that has a primary and a synchronous standby after construction. Stop it with `remove`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="patroni-"))
        self.folder.chmod(0o755)
        self.port = reserve_port()  # of haproxy
        self._ports = {name: reserve_port() for name in MEMBERS}
        self._api_ports = {name: reserve_port() for name in MEMBERS}
        self._etcd_port = reserve_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        python = find_python()
        assert python, get_skip_reason()
        site = self.folder / "site"
        install: list[str | Path] = [
            UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "--target",
            site,
            "--require-hashes",
        ]
        subprocess.run([*install, "-r", REQUIREMENTS], check=True)
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        try:
            self._start_etcd()
            for name in MEMBERS:
                self._start_member(name, python, site)
            wait_until(self.has_standby, START_TIMEOUT_SECONDS, "the cluster has a synchronous standby", 0.5)
        except BaseException:
            self.remove()
            raise

    def url(self) -> str:
        """Return the URL with all members, which leads to the primary."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports.values())
        return f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres?target_session_attrs=read-write"

    def roles(self) -> dict[str, str]:
        """Return the role of each running member, as a member that runs reports it."""
        for name, process in self._processes.items():
            if name in MEMBERS and process.poll() is None:
                with contextlib.suppress(OSError, ValueError):
                    return {member["name"]: member["role"] for member in self._fetch(name) if _is_running(member)}
        return {}

    def has_standby(self) -> bool:
        """Return whether there are a primary and a synchronous standby."""
        return {"leader", "sync_standby"} <= set(self.roles().values())

    def kill_primary(self) -> str:
        """Kill the server and Patroni of the primary with SIGKILL. Return its name.

        Patroni promotes synchronous standbys only, so this waits for one.
        """
        wait_until(self.has_standby, START_TIMEOUT_SECONDS, "the cluster has a synchronous standby", 0.5)
        [name] = [name for name, role in self.roles().items() if role == "leader"]
        self._processes[name].kill()
        self._processes[name].wait()
        self._kill_server(name)
        return name

    @contextmanager
    def haproxy(self) -> Iterator[None]:
        """Run HAProxy on `port` until the block ends; it leads to the primary."""
        assert HAPROXY
        servers = [
            f"  server {name} 127.0.0.1:{self._ports[name]} check port {self._api_ports[name]}" for name in MEMBERS
        ]
        file = self.folder / "haproxy.cfg"
        file.write_text(HAPROXY_CONFIGURATION.format(port=self.port, servers="\n".join(servers)))
        process = subprocess.Popen([HAPROXY, "-db", "-f", file], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def remove(self) -> None:
        """Kill all processes and remove the files."""
        for process in self._processes.values():
            process.kill()
            process.wait()
        for name in MEMBERS:
            self._kill_server(name)
        shutil.rmtree(self.folder)

    def _fetch(self, name: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self._api_ports[name]}/cluster"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return list(json.load(response)["members"])

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, reserve_port()))
        options = {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "error",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        self._processes["etcd"] = self._run("etcd", command)

    def _start_member(self, name: str, python: str, site: Path) -> None:
        file = self.folder / f"{name}.yaml"
        file.write_text(
            CONFIGURATION.format(
                name=name,
                api_port=self._api_ports[name],
                etcd_port=self._etcd_port,
                ttl=TTL_SECONDS,
                port=self._ports[name],
                folder=self.folder,
                programs=find_programs(),
                user=USER,
                password=PASSWORD.replace("%40", "@"),
            )
        )
        self._processes[name] = self._run(name, [python, "-m", "patroni", file], PYTHONPATH=str(site))

    def _run(self, name: str, command: list[Any], **environment: str) -> subprocess.Popen[bytes]:
        user = "postgres" if os.getuid() == 0 else None
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder), **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _kill_server(self, name: str) -> None:
        with contextlib.suppress(OSError, IndexError):
            os.kill(int((self.folder / name / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


def _is_running(member: dict[str, Any]) -> bool:
    return member["state"] in ("running", "streaming")
