"""The cluster of the tests: pods run in it, and policies hold."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tests.support.existing_cluster import ExistingCluster

pytestmark = pytest.mark.cluster


def test_pod_runs_the_listeners_image_when_pod_security_is_restricted(
    target_cluster: Cluster | ExistingCluster,
) -> None:
    namespace = target_cluster.namespace()
    container = {
        "name": "listener",
        "image": target_cluster.images["v1"],
        "args": ["--help"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "listener", "namespace": namespace},
        "spec": {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": False},
    }
    target_cluster.apply(pod)
    target_cluster.wait_for(
        lambda: target_cluster.get("pod", "listener", f"--namespace={namespace}")["status"]["phase"] == "Succeeded",
        60,
        "the pod has ended",
    )
    assert "Usage: thingspace listener" in target_cluster.kubectl("logs", "listener", f"--namespace={namespace}")
    target_cluster.delete_namespace(namespace)
    assert target_cluster.warnings == []


def test_warnings_are_found_when_a_client_hides_them(own_cluster: Cluster) -> None:
    namespace = own_cluster.namespace()
    labels = {"app": "unrestricted"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": own_cluster.images["v1"]}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    own_cluster.request("POST", path, json={"metadata": {"name": "unrestricted"}, "spec": spec})
    [warning] = own_cluster.find_warnings(namespace)
    assert "create deployments unrestricted: would violate PodSecurity" in warning
