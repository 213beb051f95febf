"""The shipped program with the stacks that have a listener on Kubernetes, previewed by the real engine and plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.cluster import Cluster
from tests.support.pulumi_project import Project

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(("stack", "workload"), [("staging", "StatefulSet"), ("prod", "Deployment")])
def test_shipped_stack_passes_a_preview(
    own_cluster: Cluster,
    definitions: None,  # noqa: ARG001  prod has a PodMonitor
    tmp_path: Path,
    stack: str,
    workload: str,
) -> None:
    project = Project(tmp_path, {"KUBECONFIG": str(own_cluster.kubeconfig)})
    file = project.folder / "Pulumi.yaml"
    plugins = {"providers": [{"name": "kubernetes", "path": str(own_cluster.plugin_folder)}]}
    file.write_text(file.read_text() + yaml.safe_dump({"plugins": plugins}))
    config = yaml.safe_load((project.folder / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]
    namespace = config["thingspace:listener"]["namespace"]
    own_cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    project.init(stack)
    output = project.preview("--stack", stack).output
    for kind in (workload, "Ingress", "Secret", "CallbackRegistration"):
        assert f":{kind} " in output
    assert "warning" not in output.lower()
