"""The example program deploys to Kubernetes what its stack file says, with the commands of docs/kubernetes.md."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.emulator_process import ACCOUNT, EmulatorProcess
from tests.support.kubernetes_project import KubernetesProject, stored_texts
from tests.support.pulumi_project import TOP
from tests.support.waiting import wait_until
from thingspace_provider.api import ThingSpaceClient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


def test_stack_file_of_kind_kubernetes_deploys_registers_and_drains_the_queue(
    project: KubernetesProject, emulator: EmulatorProcess, thingspace: ThingSpaceClient
) -> None:
    shutil.copy(TOP / "__main__.py", project.folder)
    options = project.options
    project.configure("thingspace:accounts", json.dumps([ACCOUNT]))
    listener = {
        "kind": "kubernetes",
        "image": options["image"],
        "host": project.host,
        "namespace": project.namespace,
        "replicas": 1,
        "rolloutTimeoutSeconds": options["rollout_timeout_seconds"],
        "ingress.className": options["ingress_class"],
        "ingress.tlsSecret": options["tls_secret"],
    }
    for key, value in listener.items():
        project.configure(f"thingspace:listener.{key}", str(value), "--path")
    project.configure("thingspace:listener.store", options["store"], "--path", "--secret")
    emulator.send_message("queued", ACCOUNT)

    created = project.up()
    assert project.host in created.output
    wait_until(lambda: stored_texts(options["store"])["queued"] == 1, 20, "the listener stores the queued message")
    assert "unchanged" in project.up("--expect-no-changes").changes
    assert options["store"] not in created.output + project.export()

    project.destroy()
    assert thingspace.list_callbacks(ACCOUNT) == []
    assert project.managed_objects() == []
