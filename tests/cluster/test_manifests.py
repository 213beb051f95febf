"""The API server accepts every combination of the options of KubernetesListener, without a warning."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.cluster import KubernetesClient
from thingspace_provider.hosting import AdminAccess, GatewayRoute, IngressRoute, SqliteVolume
from thingspace_provider.hosting.kubernetes_manifests import (
    DEFAULT_RESOURCES,
    Manifest,
    ManifestOptions,
    build_manifests,
)

pytestmark = pytest.mark.cluster

PLAIN = ManifestOptions(
    instance="listener-prod-0a1b2c3d",
    image="registry.example.com/thingspace-provider:0.1.0",
    host="sms.example.com",
    volume=None,
    replicas=2,
    namespace=None,
    ingress=None,
    gateway=None,
    settings="{}",
    environment={},
    resources=DEFAULT_RESOURCES,
    admin=None,
    monitoring=False,
    rollout_timeout_seconds=300,
    pre_stop_seconds=5,
    secret_name="listener-settings-0a1b2c3d",
    service_account_name="listener-account-0a1b2c3d",
    service_name="listener-0a1b2c3d",
)
STORES: dict[str, dict[str, Any]] = {
    "postgresql": {},
    "sqlite": {"volume": SqliteVolume(), "replicas": 1},
    "sqlite with storage class": {"volume": SqliteVolume("5Gi", "ssd"), "replicas": 1},
}
ROUTES: dict[str, dict[str, Any]] = {
    "no route": {},
    "ingress": {"ingress": IngressRoute()},
    "ingress with certificate": {"ingress": IngressRoute("nginx", {"example.com/a": "b"}, tls_secret="certificate")},
    "ingress with cluster issuer": {"ingress": IngressRoute(issuer="acme")},
    "ingress with issuer": {"ingress": IngressRoute(issuer="acme", issuer_kind="Issuer")},
    "gateway": {"gateway": GatewayRoute("public")},
    "gateway with namespace": {"gateway": GatewayRoute("public", "gateways", "https")},
}
SWITCHES: tuple[dict[str, Any], ...] = (
    {"admin": AdminAccess(["operations", "support"])},
    {"monitoring": True},
    {"pre_stop_seconds": 0},
    {"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}, "rollout_timeout_seconds": 10},
)


@pytest.fixture
def namespace(
    cluster: KubernetesClient,
    definitions: None,  # noqa: ARG001  the API server knows HTTPRoute and PodMonitor
) -> Iterator[str]:
    name = cluster.namespace("restricted")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def create(cluster: KubernetesClient, manifests: list[Manifest], *, fails: bool = False) -> str:
    """Send the manifests with names, as a dry run with strict validation of fields."""
    for number, manifest in enumerate(manifests):
        manifest["metadata"].setdefault("name", f"listener-{number}")
    documents = "\n---\n".join(map(json.dumps, manifests))  # in a List, kubectl itself would validate the fields
    arguments = ("create", "--dry-run=server", "--validate=strict", "--output=name", "--filename=-")
    return cluster.kubectl(*arguments, input=documents, fails=fails)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("store", STORES)
def test_every_combination_of_options_is_accepted_without_a_warning(
    cluster: KubernetesClient, namespace: str, store: str, route: str
) -> None:
    manifests: list[Manifest] = []
    for chosen in itertools.product((False, True), repeat=len(SWITCHES)):
        changes = {**STORES[store], **ROUTES[route], "namespace": namespace}
        for switch in itertools.compress(SWITCHES, chosen):
            changes |= switch
        manifests += build_manifests(replace(PLAIN, **changes)).values()
    created = create(cluster, manifests)
    assert len(created.splitlines()) == len(manifests)
    assert cluster.warnings == []


def find_container(manifest: Manifest) -> dict[str, Any]:
    container: dict[str, Any] = manifest["spec"]["template"]["spec"]["containers"][0]
    return container


@pytest.mark.parametrize(
    ("purpose", "change", "message"),
    [
        (
            "workload",
            lambda manifest: manifest["spec"].update(replica=2),
            'strict decoding error: unknown field "spec.replica"',
        ),
        ("workload", lambda manifest: find_container(manifest).update(name="Listener"), "Invalid value"),
        ("service", lambda manifest: manifest["spec"]["ports"][0].update(port="callbacks"), "port"),
        ("route", lambda manifest: manifest["spec"].update(hostnames=["https://sms.example.com"]), "hostnames"),
        (
            "route",
            lambda manifest: manifest["spec"].update(host="sms.example.com"),
            'strict decoding error: unknown field "spec.host"',
        ),
        (
            "monitor",
            lambda manifest: manifest["spec"].update(endpoints=[]),
            'strict decoding error: unknown field "spec.endpoints"',
        ),
    ],
)
def test_wrong_manifest_is_rejected(
    cluster: KubernetesClient, namespace: str, purpose: str, change: Any, message: str
) -> None:
    options = replace(PLAIN, namespace=namespace, gateway=GatewayRoute("public"), monitoring=True)
    manifest = build_manifests(options)[purpose]
    change(manifest)
    assert message in create(cluster, [manifest], fails=True)


def test_warning_is_noticed_when_a_pod_violates_the_standard(cluster: KubernetesClient, namespace: str) -> None:
    manifest = build_manifests(replace(PLAIN, namespace=namespace))["workload"]
    find_container(manifest)["securityContext"]["allowPrivilegeEscalation"] = True
    create(cluster, [manifest])
    assert "allowPrivilegeEscalation" in cluster.warnings.pop()
