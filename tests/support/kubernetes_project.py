"""A listener that the real engine deploys to a cluster with Pulumi's own Kubernetes plugin."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.support.cluster import Cluster
from tests.support.emulator_process import EmulatorProcess
from tests.support.existing_cluster import ExistingCluster
from tests.support.pulumi_project import TOP, Project

PROGRAM = TOP / "tests" / "cluster" / "program"
ROLLOUT_SECONDS = 60


class KubernetesProject(Project):
    """Stack of tests/cluster/program in a namespace and with a host name of its own.

    Attributes:
        options: Arguments of the listener, which the program reads. Change them with `up(...)`.
        host: Host name of the listener. It leads to the ingress controller, which gets a certificate for it.
    """

    def __init__(
        self, folder: Path, cluster: Cluster | ExistingCluster, emulator: EmulatorProcess, store: str | None
    ) -> None:
        environment = {
            **emulator.environment,
            **cluster.engine,
            "KUBECONFIG": str(cluster.kubeconfig),
            "THINGSPACE_READINESS_CA_BUNDLE": str(cluster.ca_file),
            "THINGSPACE_READINESS_TIMEOUT_SECONDS": "20",
        }
        super().__init__(folder, environment)
        self._cluster = cluster
        self.namespace = cluster.namespace()
        self.host = cluster.host_for(self.namespace)
        shutil.copy(PROGRAM / "__main__.py", self.folder)
        self._write_project(cluster.plugin_folder)
        self.options: dict[str, Any] = {
            "accounts": emulator.ready["accounts"],
            "host": self.host,
            "image": cluster.images["v1"],
            "ingress_class": cluster.ingress_class,
            "namespace": self.namespace,
            "replicas": 2 if store else 1,
            "rollout_timeout_seconds": ROLLOUT_SECONDS,
            "rotation": 1,
            "settings": {},
            "store": store,
            "tls_secret": cluster.create_certificate(self.namespace, self.host),
            "triggers": [],
        }
        self.init("dev")

    def change(self, **options: Any) -> None:
        """Change options for the next command."""
        self.options.update(options)
        (self.folder / "options.json").write_text(json.dumps(self.options))

    def close(self) -> None:
        """Write the output of all commands to the logs, delete the namespace, and check that nothing was warned of."""
        (self._cluster.folder / "logs" / f"{self.namespace}.log").write_text("\n".join(self.printed))
        self._cluster.delete_namespace(self.namespace)
        warnings = self._cluster.find_warnings(self.namespace)
        assert not warnings, warnings

    def objects(self, kinds: str, *selector: str) -> list[dict[str, Any]]:
        """Return the objects of these kinds in the namespace."""
        listed: list[dict[str, Any]] = self._cluster.get(kinds, f"--namespace={self.namespace}", *selector)
        return listed

    def pods(self) -> list[dict[str, Any]]:
        """Return the listener's pods, without those that end."""
        pods = self.objects("pods", "--selector=app.kubernetes.io/name=thingspace-listener")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def managed_objects(self) -> list[str]:
        """Return the kinds and names of what the engine has created in the namespace."""
        kinds = self._cluster.kubectl("api-resources", "--namespaced", "--verbs=list,delete", "--output=name").split()
        kinds.remove("endpoints")  # deprecated; EndpointSlices replace them
        listed = self.objects(",".join(kinds), "--selector=app.kubernetes.io/managed-by=pulumi")
        return [f"{one['kind']} {one['metadata']['name']}" for one in listed]

    def _write_project(self, plugin_folder: Path | None) -> None:
        runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}}
        content: dict[str, Any] = {"name": "cluster-tests", "runtime": runtime}
        if plugin_folder:
            content["plugins"] = {"providers": [{"name": "kubernetes", "path": str(plugin_folder)}]}
        (self.folder / "Pulumi.yaml").write_text(json.dumps(content))


def fetch_messages(url: str) -> list[tuple[str, str | None, bool]]:
    """Return the stored messages of a database: text, request id, and whether each is marked as a duplicate."""
    with psycopg.connect(url) as connection:
        query = "SELECT text, request_id, duplicate_of IS NOT NULL FROM thingspace.messages ORDER BY id"
        return connection.execute(query).fetchall()


def stored_texts(url: str) -> Counter[str]:
    """Return how often each text is stored."""
    return Counter(text for text, _, _ in fetch_messages(url))


def count_calls(emulator: EmulatorProcess, operations: Sequence[str]) -> dict[str, int]:
    """Return the numbers of calls of these operations since the last reset."""
    counts = emulator.count_calls()
    return {operation: counts[operation] for operation in operations}
