"""Fixtures: a cluster, and what runs beside it. tools/cluster/run.py makes the namespaces; see CONTRIBUTING.md."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ADDRESS, Cluster, KubernetesClient
from tests.support.emulator_process import EmulatorProcess
from tests.support.ingress_controller import IngressController
from tests.support.kubernetes_project import KubernetesProject
from tests.support.postgres_server import PostgresServer
from tools.cluster import build

FOLDER, KUBECONFIG = "THINGSPACE_TEST_CLUSTER_FOLDER", "THINGSPACE_TEST_KUBECONFIG"


@pytest.fixture(scope="session")
def own_cluster() -> Iterator[Cluster]:
    """Cluster that exists for this run only, with the listener's images and an ingress controller."""
    if FOLDER not in os.environ:
        pytest.skip("needs the cluster of `make test-cluster`")
    cluster = Cluster(Path(os.environ[FOLDER]))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def session_cluster(request: pytest.FixtureRequest) -> KubernetesClient:
    if KUBECONFIG in os.environ:
        return KubernetesClient(Path(os.environ[KUBECONFIG]))
    cluster: Cluster = request.getfixturevalue("own_cluster")
    return cluster


@pytest.fixture
def cluster(session_cluster: KubernetesClient) -> Iterator[KubernetesClient]:
    """Cluster of the tests or the existing one. A warning of the API server is a failure."""
    session_cluster.warnings.clear()
    yield session_cluster
    assert session_cluster.warnings == []


@pytest.fixture(scope="session")
def definitions(session_cluster: KubernetesClient) -> Iterator[None]:
    """Definitions of HTTPRoute and PodMonitor, removed at the end if they were not there."""
    files = [str(path) for path in build.find_definitions()]
    missing = [file for file in files if not session_cluster.kubectl("get", "--ignore-not-found", "-f", file)]
    for file in missing:
        session_cluster.kubectl("create", "-f", file)
        session_cluster.kubectl("wait", "--for=condition=Established", "-f", file)
    yield
    for file in missing:
        session_cluster.kubectl("delete", "-f", file)


@pytest.fixture(scope="session")
def ingress_controller(own_cluster: Cluster) -> Iterator[IngressController]:
    controller = IngressController(own_cluster)
    yield controller
    controller.close()


@pytest.fixture(scope="session")
def postgres(own_cluster: Cluster) -> Iterator[PostgresServer]:  # noqa: ARG001  its address exists with the cluster
    server = PostgresServer(address=ADDRESS)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def emulator_process(own_cluster: Cluster) -> Iterator[EmulatorProcess]:
    """Emulator that trusts the cluster's authority. Its device messages have request ids."""
    with EmulatorProcess("--ca-file", str(own_cluster.ca_file), "--switch", "callbackBody=modern") as process:
        yield process


@pytest.fixture
def project(
    own_cluster: Cluster,
    ingress_controller: IngressController,  # noqa: ARG001  it serves the URL
    postgres: PostgresServer,
    emulator: EmulatorProcess,
    tmp_path: Path,
) -> Iterator[KubernetesProject]:
    """Stack with a listener on PostgreSQL, not yet deployed. Its objects go with its namespace."""
    project = KubernetesProject(tmp_path, own_cluster, emulator, postgres.create_database())
    own_cluster.warnings.clear()
    yield project
    project.close()
    assert own_cluster.warnings == []
