"""`make test-cluster` against a cluster that exists, with a Kubernetes plugin that the engine downloads.

The existing cluster is that of the other tests. Without internet, a server on this machine has the plugin's archive
under the name that the engine requests; Pulumi's own setting leads the engine there.
"""

from __future__ import annotations

import functools
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.existing_cluster import HOST, IMAGES, INGRESS_CLASS, STORE
from tests.support.ingress_controller import IngressController
from tests.support.postgres_server import PostgresServer
from tests.support.pulumi_project import TOP
from tests.support.waiting import join_thread
from tools.cluster.build import KUBECONFIG_VARIABLE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
FILES = ("pulumi-resource-kubernetes", "schema.json", "terraform-mapping.json")
EXPECTED_TESTS = (
    "test_lifecycle.py::test_messages_of_three_accounts_arrive_and_destroy_leaves_nothing",
    "test_smoke.py::test_pod_runs_the_listeners_image_when_pod_security_is_restricted",
    "test_stack_file.py::test_stack_file_of_kind_kubernetes_deploys_registers_and_drains_the_queue",
)


class PluginServer(http.server.BaseHTTPRequestHandler):
    """Serves the plugin's archive under every path."""

    def __init__(self, archive: bytes, requests: list[str], *connection: object) -> None:
        self.archive, self.requests = archive, requests
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serve_plugin(folder: Path, requests: list[str]) -> Iterator[str]:
    """Serve the plugin of a folder as an archive and yield the server's URL."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for name in FILES:
            tar.add(folder / name, name)
    handler = functools.partial(PluginServer, archive.getvalue(), requests)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        join_thread(thread)


def test_deployments_pass_in_an_existing_cluster_when_the_engine_downloads_the_plugin(
    own_cluster: Cluster,
    ingress_controller: IngressController,  # noqa: ARG001  it serves the URL
    postgres: PostgresServer,
    tmp_path: Path,
) -> None:
    host = "existing.example.com"
    own_cluster.resolve(host)
    programs = [folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != own_cluster.plugin_folder]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "THINGSPACE_"))}
    environment |= {
        "PATH": os.pathsep.join(programs),
        KUBECONFIG_VARIABLE: str(own_cluster.kubeconfig),
        IMAGES: ",".join(own_cluster.images.values()),
        HOST: host,
        INGRESS_CLASS: own_cluster.ingress_class,
        STORE: postgres.url(),
    }
    tests = [f"tests/cluster/{name}" for name in EXPECTED_TESTS]
    requests: list[str] = []
    with serve_plugin(own_cluster.plugin_folder, requests) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tools.cluster.run", *tests, f"--basetemp={tmp_path / 'tests'}"],
            cwd=TOP,
            env={**environment, "PULUMI_PLUGIN_DOWNLOAD_URL_OVERRIDES": f"kubernetes={url}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=360,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert f" {len(EXPECTED_TESTS)} passed in " in done.stdout
    assert len(requests) == 1, requests
    assert requests[0].startswith("/pulumi-resource-kubernetes-v"), requests
