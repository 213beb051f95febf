"""Fixtures: a cluster, and what runs beside it. tools/cluster/run.py makes the namespaces; see CONTRIBUTING.md."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, KubernetesClient

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
