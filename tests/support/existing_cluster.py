"""A cluster that exists already, with what the tests need to know of it in variables of the environment.

Its nodes, its name server and its ingress controller are not under the control of the tests.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psycopg
import pytest

from tests.support.cluster import KubernetesClient
from tools.cluster.build import KUBECONFIG_VARIABLE

IMAGES, HOST = "THINGSPACE_TEST_IMAGES", "THINGSPACE_TEST_HOST"
INGRESS_CLASS, STORE = "THINGSPACE_TEST_INGRESS_CLASS", "THINGSPACE_TEST_STORE"
VARIABLES = {
    IMAGES: "two references of the listener's image, separated by a comma",
    HOST: "a host name that leads to the ingress controller, from this machine",
    INGRESS_CLASS: "the class of its Ingress objects",
    STORE: "the URL of a PostgreSQL database that pods and this machine reach; its schema thingspace is dropped",
}


class ExistingCluster(KubernetesClient):
    """Cluster of a kubeconfig in which listeners can be deployed, one test after the other.

    The engine downloads Pulumi's Kubernetes plugin into the folder, once.

    Args:
        folder: Folder for this run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(Path(os.environ[KUBECONFIG_VARIABLE]).resolve())
        if missing := [f"{name} ({meaning})" for name, meaning in VARIABLES.items() if not os.environ.get(name)]:
            pytest.skip(f"a deployment to an existing cluster needs {', '.join(missing)}")
        self.folder = folder
        (folder / "logs").mkdir()
        first, second = os.environ[IMAGES].split(",")
        self.images = {"v1": first, "v2": second}
        self.ingress_class = os.environ[INGRESS_CLASS]
        self.ca_file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)
        self.engine = {
            "PULUMI_HOME": str(folder / "pulumi"),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "false",
            **{name: value for name, value in os.environ.items() if name.startswith("PULUMI_PLUGIN_DOWNLOAD")},
        }
        self.plugin_folder: Path | None = None

    def host_for(self, namespace: str) -> str:  # noqa: ARG002  all namespaces share it, one after the other
        """Return the host name of a listener, after a check that it resolves."""
        host = os.environ[HOST]
        socket.getaddrinfo(host, 443)
        return host

    def delete_namespace(self, namespace: str) -> None:
        """Delete a namespace and wait, because the next one has an Ingress with the same host name."""
        self.kubectl("delete", "namespace", namespace, seconds=120)

    def find_warnings(self, namespace: str) -> list[str]:  # noqa: ARG002
        """Return no warnings: only those in responses to kubectl are known."""
        return []


class ExistingDatabase:
    """Database of THINGSPACE_TEST_STORE."""

    def url(self) -> str:
        return os.environ[STORE]

    def create_database(self) -> str:
        """Return the URL of the database, without the schema of a listener."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS thingspace CASCADE")
        return self.url()
