"""The cluster of the tests: pods run in it, and policies hold."""

from __future__ import annotations

import pytest

from tests.support.cluster import Cluster
from tools.cluster.images import LISTENER_IMAGES

pytestmark = pytest.mark.cluster


def test_pod_runs_the_listeners_image_when_pod_security_is_restricted(own_cluster: Cluster) -> None:
    namespace = own_cluster.namespace()
    container = {
        "name": "listener",
        "image": LISTENER_IMAGES["v1"],
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
    own_cluster.apply(pod)
    own_cluster.wait_for(
        lambda: own_cluster.get("pod", "listener", f"--namespace={namespace}")["status"]["phase"] == "Succeeded",
        60,
        "the pod has ended",
    )
    assert "Usage: thingspace listener" in own_cluster.kubectl("logs", "listener", f"--namespace={namespace}")
    assert own_cluster.warnings == []


def test_warnings_are_found_when_a_client_hides_them(own_cluster: Cluster) -> None:
    namespace = own_cluster.namespace()
    labels = {"app": "unrestricted"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": LISTENER_IMAGES["v1"]}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    own_cluster.request("POST", path, json={"metadata": {"name": "unrestricted"}, "spec": spec})
    [warning] = own_cluster.find_warnings(namespace)
    assert "create deployments unrestricted: would violate PodSecurity" in warning
