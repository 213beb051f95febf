"""Deployments that fail: one message names the cause, the old listener serves, and the next deployment succeeds."""

from __future__ import annotations

import http.server
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import BRIDGE, Cluster, ip
from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.existing_cluster import ExistingCluster, ExistingDatabase
from tests.support.kubernetes_project import KubernetesProject, stored_texts
from tests.support.postgres_server import PostgresServer
from tests.support.waiting import join_thread, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(500)]
ROLLOUT_SECONDS = 15
OTHER_ADDRESS = "10.244.0.3"
NO_SERVER = "postgresql://inbox:invented@10.244.0.254:5432/postgres"


@contextmanager
def other_server(cluster: Cluster, host: str) -> Iterator[None]:
    """Run another web server under a host name, with a trusted certificate. It has no pages."""
    ip("address", "add", f"{OTHER_ADDRESS}/24", "dev", BRIDGE)
    server = http.server.ThreadingHTTPServer((OTHER_ADDRESS, 443), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cluster.ca.issue_cert(host).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cluster.resolve(host, OTHER_ADDRESS)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        join_thread(thread)
        ip("address", "delete", f"{OTHER_ADDRESS}/24", "dev", BRIDGE)


def test_old_listener_serves_when_a_deployment_fails(
    project: KubernetesProject,
    target_cluster: Cluster | ExistingCluster,
    emulator: EmulatorProcess,
    postgres: PostgresServer | ExistingDatabase,
) -> None:
    right = {**project.options, "accounts": [ACCOUNT], "rollout_timeout_seconds": ROLLOUT_SECONDS}
    project.change(**right)
    project.up()
    registered = emulator.control("GET", "accounts")
    other_host = f"other-{project.host}"
    store = str(project.options["store"])
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "image": ({"image": "registry.example.com/absent:1"}, "registry.example.com/absent:1"),
        "never ready": ({"store": NO_SERVER}, "10.244.0.254"),
        "password": ({"store": store.replace(str(urlsplit(store).password), "wrong")}, "password"),
    }
    with ExitStack() as stack:
        if isinstance(target_cluster, Cluster):  # host names of an existing cluster are not under control
            stack.enter_context(other_server(target_cluster, other_host))
            cases["host"] = ({"host": other_host}, other_host)
        for number, (name, (wrong, cause)) in enumerate(cases.items()):
            project.change(**wrong)
            started = time.monotonic()
            failed = project.up(fails=True)
            assert time.monotonic() - started < ROLLOUT_SECONDS + 45, failed.output
            assert len(failed.errors) == 1, failed.output
            assert cause in failed.output.partition("Diagnostics:")[2], failed.output
            assert emulator.control("GET", "accounts") == registered, name
            emulator.send_message(f"during {name}", ACCOUNT)
            wait_until(is_stored(postgres, f"during {name}"), 20, "the old listener stores the message", 0.2)
            project.change(**{**right, "triggers": [number]})
            project.up()
            emulator.send_message(f"after {name}", ACCOUNT)
            wait_until(is_stored(postgres, f"after {name}"), 20, "the new listener stores the message", 0.2)
            project.preview("--expect-no-changes")


def is_stored(postgres: PostgresServer | ExistingDatabase, text: str) -> Callable[[], bool]:
    return lambda: stored_texts(postgres.url())[text] == 1
