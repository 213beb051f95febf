"""Fixtures: a cluster, and what runs beside it. tools/cluster/run.py makes the namespaces; see CONTRIBUTING.md."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ADDRESS, Cluster, KubernetesClient
from tests.support.emulator_process import EmulatorProcess
from tests.support.existing_cluster import ExistingCluster, ExistingDatabase
from tests.support.ingress_controller import IngressController
from tests.support.kubernetes_project import KubernetesProject
from tests.support.postgres_server import PostgresServer
from tools.cluster.build import KUBECONFIG_VARIABLE, find_definitions

FOLDER_VARIABLE = "THINGSPACE_TEST_CLUSTER_FOLDER"
USER = 10001  # of the image; a volume of the node's folder gets no group


@pytest.fixture(scope="session")
def own_cluster() -> Iterator[Cluster]:
    """Cluster that exists for this run only, with the listener's images and an ingress controller."""
    if FOLDER_VARIABLE not in os.environ:
        pytest.skip(
            "needs control over nodes, network or audit log: run `make test-cluster` without an existing cluster"
        )
    cluster = Cluster(Path(os.environ[FOLDER_VARIABLE]))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def session_cluster(request: pytest.FixtureRequest) -> KubernetesClient:
    if KUBECONFIG_VARIABLE in os.environ:
        return KubernetesClient(Path(os.environ[KUBECONFIG_VARIABLE]))
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
    files = [str(path) for path in find_definitions()]
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
def target_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Cluster | ExistingCluster:
    """Cluster for deployments, with an ingress controller: that of the tests or the existing one."""
    if KUBECONFIG_VARIABLE in os.environ:
        return ExistingCluster(tmp_path_factory.mktemp("cluster"))
    request.getfixturevalue("ingress_controller")
    cluster: Cluster = request.getfixturevalue("own_cluster")
    return cluster


@pytest.fixture(scope="session")
def postgres(target_cluster: Cluster | ExistingCluster) -> Iterator[PostgresServer | ExistingDatabase]:
    if isinstance(target_cluster, ExistingCluster):
        yield ExistingDatabase()
        return
    server = PostgresServer(address=ADDRESS)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def emulator_process(target_cluster: Cluster | ExistingCluster) -> Iterator[EmulatorProcess]:
    """Emulator that trusts the cluster's authority. Its device messages have request ids."""
    with EmulatorProcess("--ca-file", str(target_cluster.ca_file), "--switch", "callbackBody=modern") as process:
        yield process


@pytest.fixture
def project(
    target_cluster: Cluster | ExistingCluster,
    postgres: PostgresServer | ExistingDatabase,
    emulator: EmulatorProcess,
    tmp_path: Path,
) -> Iterator[KubernetesProject]:
    """Stack with a listener on PostgreSQL, not yet deployed. Its objects go with its namespace."""
    project = KubernetesProject(tmp_path, target_cluster, emulator, postgres.create_database())
    target_cluster.warnings.clear()
    yield project
    project.close()
    assert target_cluster.warnings == []


@pytest.fixture
def volume(own_cluster: Cluster) -> Iterator[Path]:
    """Folder of the node that is a volume of the storage class `manual`, the default one."""
    name = f"store-{secrets.token_hex(4)}"
    folder = own_cluster.folder / name
    folder.mkdir()
    folder.chmod(0o700)
    os.chown(folder, USER, USER)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": str(folder)},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "manual",
    }
    metadata = {"name": "manual", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    provisioner = {"provisioner": "kubernetes.io/no-provisioner"}
    own_cluster.apply(
        {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata, **provisioner},
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec},
    )
    yield folder
    own_cluster.kubectl("delete", f"persistentvolume/{name}", "storageclass/manual", "--wait=false")
