"""The commands of examples/kubernetes run as written, in a copy of its folder, with the built wheel."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.cluster import Cluster
from tests.support.example_commands import BASH, build_environment, check_output, copy_example, run_commands
from tests.support.ingress_controller import IngressController

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
EXPECTED_OUTPUT = (r"\+ \d+ created", "T=21.5", r"- \d+ deleted")


def test_commands_of_the_readme_work_as_written(
    own_cluster: Cluster,
    ingress_controller: IngressController,  # noqa: ARG001  it serves the URL
    volume: Path,  # noqa: ARG001  the default storage class provides it
    tmp_path: Path,
) -> None:
    namespace = own_cluster.namespace()
    folder = tmp_path / "kubernetes"
    commands = copy_example("kubernetes", folder)
    host = own_cluster.host_for(namespace)
    file = folder / "Pulumi.dev.yaml"
    config = yaml.safe_load(file.read_text())["config"] | {  # step 2 of the README
        "kubernetes:image": own_cluster.images["v1"],
        "kubernetes:host": host,
        "kubernetes:ingressClass": own_cluster.ingress_class,
        "kubernetes:namespace": namespace,
        "kubernetes:tlsSecret": own_cluster.create_certificate(namespace, host),
    }
    file.write_text(yaml.safe_dump({"config": config}))
    own_cluster.ca.cert_pem.write_to_path(folder / "ca.pem")
    environment = build_environment(own_cluster.folder / "wheels", tmp_path) | {
        "KUBECONFIG": str(own_cluster.kubeconfig),
        "PIP_NO_INDEX": "1",  # the namespaces of the tests have no network
    }
    output = run_commands(commands, BASH, environment, folder)
    check_output(output, EXPECTED_OUTPUT)
    assert own_cluster.find_warnings(namespace) == []
