"""Manifests of a KubernetesListener: pure functions from its options to objects as the API server takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input

Manifest = dict[str, Any]

PORT, ADMIN_PORT = 28200, 28280  # those of the image
USER = 10001  # numeric, because runAsNonRoot cannot check a name
SETTINGS_FILE = "settings.json"
SETTINGS_DIRECTORY = "/etc/thingspace"
STORE_DIRECTORY = "/var/lib/thingspace"
DRAIN_SECONDS = 25  # from SIGTERM to SIGKILL; the listener needs up to 7 seconds
DEFAULT_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}  # the workload is awaited, so one failure gives one message


@dataclass(frozen=True)
class SqliteVolume:
    """A SQLite store on a volume. One listener only; `pulumi destroy` keeps the volume and its messages.

    Args:
        size: size of the volume.
        storage_class: its storage class; None is the default of the cluster. It must provide block storage.
    """

    size: Input[str] = "1Gi"
    storage_class: Input[str] | None = None


@dataclass(frozen=True)
class IngressRoute:
    """An Ingress for the callback path.

    Args:
        class_name: ingress class; None is the default of the cluster.
        annotations: annotations for the ingress controller.
        tls_secret: name of a TLS Secret with the certificate of the host.
        issuer: name of an issuer of cert-manager, which makes the certificate. Without `tls_secret` and `issuer`, the
            controller uses its own certificate.
        issuer_kind: `ClusterIssuer` or `Issuer`.
    """

    class_name: Input[str] | None = None
    annotations: Mapping[str, Input[str]] | None = None
    tls_secret: Input[str] | None = None
    issuer: Input[str] | None = None
    issuer_kind: str = "ClusterIssuer"


@dataclass(frozen=True)
class GatewayRoute:
    """An HTTPRoute of the Gateway API for the callback path. TLS is a matter of the Gateway.

    Args:
        name: name of the Gateway.
        namespace: its namespace; None is that of the listener.
        section_name: listener of the Gateway; None attaches to all.
    """

    name: Input[str]
    namespace: Input[str] | None = None
    section_name: Input[str] | None = None


@dataclass(frozen=True)
class AdminAccess:
    """Access to the inbox page, `/v1`, metrics and health from other namespaces, through a second Service.

    Args:
        namespaces: names of the namespaces whose pods have access.
    """

    namespaces: Sequence[Input[str]]


@dataclass(frozen=True)
class ManifestOptions:
    """Valid options of a listener, and the names that the engine gives to its objects."""

    instance: str
    image: Input[str]
    host: Input[str]
    volume: SqliteVolume | None
    replicas: int
    namespace: Input[str] | None
    ingress: IngressRoute | None
    gateway: GatewayRoute | None
    settings: Input[str]
    environment: Mapping[str, Input[str]]
    resources: Mapping[str, Any]
    admin: AdminAccess | None
    monitoring: bool
    rollout_timeout_seconds: int
    pre_stop_seconds: int
    secret_name: Input[str]
    service_account_name: Input[str]
    service_name: Input[str]

    @property
    def selector(self) -> dict[str, str]:
        """Return the labels that select the pods."""
        return {"app.kubernetes.io/name": "thingspace-listener", "app.kubernetes.io/instance": self.instance}


def build_manifests(options: ManifestOptions) -> dict[str, Manifest]:
    """Return the manifests of a listener by their purpose: `workload`, `service`, `settings` and others."""
    selector = {"matchLabels": options.selector}
    manifests = {
        "settings": _object(
            options, "v1", "Secret", type="Opaque", immutable=True, stringData={SETTINGS_FILE: options.settings}
        ),
        "account": _object(options, "v1", "ServiceAccount", automountServiceAccountToken=False),
        "service": _service(options, "callbacks", PORT),
        "workload": _workload(options),
        "network-policy": _object(
            options,
            "networking.k8s.io/v1",
            "NetworkPolicy",
            spec={"podSelector": selector, "policyTypes": ["Ingress"], "ingress": _allowed_connections(options)},
        ),
        "disruption-budget": _object(
            options, "policy/v1", "PodDisruptionBudget", spec={"selector": selector, "maxUnavailable": 1}
        ),
    }
    if options.admin:
        manifests["admin"] = _service(options, "admin", ADMIN_PORT)
    if options.ingress:
        manifests["route"] = _ingress(options, options.ingress)
    if options.gateway:
        manifests["route"] = _http_route(options, options.gateway)
    if options.monitoring:
        endpoint = {"port": "admin", "path": "/metrics"}
        manifests["monitor"] = _object(
            options,
            "monitoring.coreos.com/v1",
            "PodMonitor",
            # The job is the same for all replicas and after a replacement of this object: rules group by it.
            spec={
                "selector": selector,
                "jobLabel": "app.kubernetes.io/instance",
                "podMetricsEndpoints": [endpoint],
            },
        )
    return manifests


def _object(
    options: ManifestOptions,
    api_version: str,
    kind: str,
    annotations: Mapping[str, Input[str]] | None = None,
    **body: Any,
) -> Manifest:
    metadata: Manifest = {"labels": _labels(options)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if options.namespace is not None:
        metadata["namespace"] = options.namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **body}


def _labels(options: ManifestOptions) -> dict[str, str]:
    return {
        **options.selector,
        "app.kubernetes.io/part-of": "thingspace",
        "app.kubernetes.io/managed-by": "pulumi",
    }


def _service(options: ManifestOptions, port_name: str, port: int) -> Manifest:
    ports = [{"name": port_name, "port": port, "targetPort": port_name}]
    return _object(options, "v1", "Service", SKIP_AWAIT, spec={"selector": options.selector, "ports": ports})


def _workload(options: ManifestOptions) -> Manifest:
    """Return a Deployment for replicas on PostgreSQL, or a StatefulSet of one replica with a volume for SQLite."""
    annotations = {"pulumi.com/timeoutSeconds": str(options.rollout_timeout_seconds)}
    spec: Manifest = {
        "replicas": options.replicas,
        "selector": {"matchLabels": options.selector},
        "template": {"metadata": {"labels": _labels(options)}, "spec": _pod(options)},
    }
    if options.volume is None:
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        spec["progressDeadlineSeconds"] = options.rollout_timeout_seconds
        return _object(options, "apps/v1", "Deployment", annotations, spec=spec)
    volume: Manifest = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": options.volume.size}},
    }
    if options.volume.storage_class is not None:
        volume["storageClassName"] = options.volume.storage_class
    template = {"metadata": {"name": "store", "labels": options.selector}, "spec": volume}
    spec["volumeClaimTemplates"] = [template]  # glossary: allow
    spec["serviceName"] = options.service_name
    spec["podManagementPolicy"] = "Parallel"  # OrderedReady never replaces a pod that cannot start
    workload = _object(options, "apps/v1", "StatefulSet", annotations, spec=spec)
    workload["metadata"]["name"] = options.instance  # the same after destroy and up, so that it finds its volume
    return workload


def _pod(options: ManifestOptions) -> Manifest:
    mounts = [{"name": "settings", "mountPath": SETTINGS_DIRECTORY, "readOnly": True}]
    if options.volume:
        mounts.append({"name": "store", "mountPath": STORE_DIRECTORY})
    container: Manifest = {
        "name": "listener",
        "image": options.image,
        "args": ["--settings", f"{SETTINGS_DIRECTORY}/{SETTINGS_FILE}"],
        "ports": [
            {"name": "callbacks", "containerPort": PORT},
            {"name": "admin", "containerPort": ADMIN_PORT},
        ],
        "resources": options.resources,
        "volumeMounts": mounts,
        "startupProbe": _probe("/healthz", periodSeconds=2, failureThreshold=150),  # a migration takes time
        "readinessProbe": _probe("/readyz", periodSeconds=3, failureThreshold=2),
        "livenessProbe": _probe("/healthz", periodSeconds=10, failureThreshold=3),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if options.environment:
        container["env"] = [{"name": name, "value": value} for name, value in sorted(options.environment.items())]
    if options.pre_stop_seconds:  # load balancers need time to stop sending requests
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": options.pre_stop_seconds}}}
    return {
        "serviceAccountName": options.service_account_name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # its variables could be taken for settings
        "terminationGracePeriodSeconds": options.pre_stop_seconds + DRAIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": options.selector},
                "matchLabelKeys": ["pod-template-hash"],  # pods of the old version do not count in a roll-out
            }
        ],
        "containers": [container],
        "volumes": [{"name": "settings", "secret": {"secretName": options.secret_name, "defaultMode": 0o440}}],
    }


def _probe(path: str, **times: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "admin"}, "timeoutSeconds": 3, **times}


def _ingress(options: ManifestOptions, route: IngressRoute) -> Manifest:
    annotations = {**SKIP_AWAIT, **(route.annotations or {})}
    secret = route.tls_secret
    if route.issuer is not None:
        kind = "cluster-issuer" if route.issuer_kind == "ClusterIssuer" else "issuer"
        annotations[f"cert-manager.io/{kind}"] = route.issuer
        secret = f"{options.instance}-tls"
    backend = {"service": {"name": options.service_name, "port": {"name": "callbacks"}}}
    paths = [{"path": "/callbacks/", "pathType": "Prefix", "backend": backend}]
    spec: Manifest = {"rules": [{"host": options.host, "http": {"paths": paths}}]}
    if route.class_name is not None:
        spec["ingressClassName"] = route.class_name
    if secret is not None:
        spec["tls"] = [{"hosts": [options.host], "secretName": secret}]
    return _object(options, "networking.k8s.io/v1", "Ingress", annotations, spec=spec)


def _http_route(options: ManifestOptions, route: GatewayRoute) -> Manifest:
    parent = {"name": route.name, "namespace": route.namespace, "sectionName": route.section_name}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/callbacks/"}}],
        "backendRefs": [{"name": options.service_name, "port": PORT}],
    }
    spec = {
        "parentRefs": [{key: value for key, value in parent.items() if value is not None}],
        "hostnames": [options.host],
        "rules": [rule],
    }
    return _object(options, "gateway.networking.k8s.io/v1", "HTTPRoute", SKIP_AWAIT, spec=spec)


def _allowed_connections(options: ManifestOptions) -> list[Manifest]:
    """Return the rules of the NetworkPolicy. Probes come from the node, which no policy blocks."""
    peers: list[Manifest] = []
    if options.admin:
        names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(options.admin.namespaces)}
        peers.append({"namespaceSelector": {"matchExpressions": [names]}})
    if options.monitoring:
        prometheus = {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}
        peers.append({"namespaceSelector": {}, "podSelector": prometheus})
    rules: list[Manifest] = [{"ports": [{"port": "callbacks"}]}]
    return [*rules, {"ports": [{"port": "admin"}], "from": peers}] if peers else rules
