"""KubernetesListener with the mocks of Pulumi's SDK: its manifests, revision, secrets, and the invalid arguments."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import pulumi
import pytest

from thingspace_provider.config import stack_schema
from thingspace_provider.config.stack_linter import StackFile
from thingspace_provider.config.stack_settings import HostSettings
from thingspace_provider.config.yaml_positions import compose_file
from thingspace_provider.hosting import (
    AdminAccess,
    GatewayRoute,
    IngressRoute,
    KubernetesListener,
    SqliteVolume,
    create_listener_host,
    kubernetes,
)
from thingspace_provider.lifecycle.validation import KUBERNETES_KEYS
from thingspace_provider.listener.settings.listener_settings import ListenerSettings
from thingspace_provider.resources import CallbackCredential, ListenerHost
from thingspace_provider.resources.base import InvalidArgument, to_snake_case

TOP = Path(__file__).resolve().parent.parent.parent
HOST, ACCOUNT, TOKEN = "sms.example.com", "0000123456-00001", "sentinel-path-token"
STORE = "postgresql://thingspace:sentinel-store@db/thingspace"
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
pytestmark = pytest.mark.filterwarnings("ignore:There is no current event loop")  # a program has one


class Cluster(pulumi.runtime.Mocks):
    """Records what is created, by kind. Names end with a suffix of the cluster, as those of the engine."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.created: list[dict[str, Any]] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if not args.typ.startswith("kubernetes:"):
            return args.name, args.inputs
        metadata = {"name": f"{args.name}-{self.suffix}", **args.inputs["metadata"]}
        self.created.append({**args.inputs, "metadata": metadata})
        return f"{args.name}-id", self.created[-1]

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], None]:
        del args
        return {}, None

    def find(self, kind: str) -> dict[str, Any]:
        [manifest] = [manifest for manifest in self.created if manifest["kind"] == kind]
        return manifest

    @property
    def pod(self) -> dict[str, Any]:
        [workload] = [item for item in self.created if item["kind"] in {"Deployment", "StatefulSet"}]
        pod: dict[str, Any] = workload["spec"]["template"]["spec"]
        return pod

    @property
    def settings(self) -> dict[str, Any]:
        data = self.find("Secret")["stringData"]
        assert data[SECRET_SIGNATURE]
        settings: dict[str, Any] = json.loads(data["value"]["settings.json"])
        return settings


def build_arguments(**changes: Any) -> dict[str, Any]:
    credential = CallbackCredential.__new__(CallbackCredential)
    credential.__dict__ |= {
        "username": pulumi.Output.secret("plant-a"),
        "password": pulumi.Output.secret("sentinel-Kx7Qw2Zr9Lm4"),
        "previous_passwords": pulumi.Output.secret(["sentinel-previous"]),
        "path_token": pulumi.Output.secret(TOKEN),
    }
    defaults = {
        "image": "registry.example.com/listener:1",
        "host": HOST,
        "account_names": [ACCOUNT],
        "credential": credential,
        "store": STORE,
    }
    return {**defaults, **changes}


def deploy(
    cluster: Cluster | None = None, /, *, settings_of_stack: HostSettings | None = None, **changes: Any
) -> tuple[Cluster, dict[str, Any]]:
    """Run a program with a listener to its end. Return the cluster and the outputs; a secret is a list of one."""
    cluster, outputs = cluster or Cluster("1"), {}
    pulumi.runtime.set_mocks(cluster, project="sms", stack="prod")

    async def resolve(output: pulumi.Output[Any]) -> Any:
        value = await output.future()
        return [value] if await output.is_secret() else value

    async def read(listener: Any) -> None:
        for name, output in (
            ("url", listener.url),
            ("revision", listener.revision),
            ("callback_url", listener.url_for(ACCOUNT)),
        ):
            outputs[name] = await resolve(output)
        dependencies = await listener.url_for(ACCOUNT).resources()
        outputs["dependencies"] = {type(resource).__name__ for resource in dependencies}
        assert isinstance(listener, ListenerHost)

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def run() -> pulumi.Output[None]:
        arguments = build_arguments(
            **{key: value() if callable(value) and key != "transform" else value for key, value in changes.items()}
        )
        if settings_of_stack:
            given = (settings_of_stack, arguments["account_names"], arguments["credential"])
            return pulumi.Output.from_input(read(create_listener_host("listener", *given)))
        return pulumi.Output.from_input(read(KubernetesListener(arguments.pop("name", "listener"), **arguments)))

    run()
    return cluster, outputs


def test_deployment_has_the_objects_of_a_replicated_listener() -> None:
    cluster, outputs = deploy()
    kinds = {manifest["kind"] for manifest in cluster.created}
    assert kinds == {
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Secret",
        "Service",
        "ServiceAccount",
    }
    spec = cluster.find("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (2, {"maxUnavailable": 0, "maxSurge": 1})
    assert cluster.find("Secret")["immutable"]
    assert cluster.pod["volumes"] == [
        {"name": "settings", "secret": {"secretName": "listener-settings-1", "defaultMode": 0o440}}
    ]
    assert cluster.find("NetworkPolicy")["spec"]["ingress"] == [{"ports": [{"port": "callbacks"}]}]
    assert outputs["url"] == f"https://{HOST}"
    assert outputs["callback_url"] == [f"https://{HOST}/callbacks/{TOKEN}/{ACCOUNT}"]


def test_pod_meets_the_pod_security_standard_restricted() -> None:
    cluster, _ = deploy(store=SqliteVolume())
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(cluster.pod)
    assert all(set(volume) <= {"name", "secret"} for volume in cluster.pod["volumes"])
    security = cluster.pod["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = cluster.pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert cluster.pod["automountServiceAccountToken"] is False
    assert cluster.find("ServiceAccount")["automountServiceAccountToken"] is False


def test_secrets_are_in_the_settings_alone() -> None:
    cluster, outputs = deploy(
        api_token="sentinel-api-token",
        recovery_mode="history",
        recovery_credentials=dict.fromkeys(("appKey", "appSecret", "username", "password"), "sentinel-thingspace"),
        ingress=IngressRoute(),
    )
    others = [manifest for manifest in cluster.created if manifest["kind"] != "Secret"]
    assert "sentinel" not in json.dumps(others)
    assert isinstance(outputs["revision"], str)
    assert cluster.settings == {
        "accounts": [ACCOUNT],
        "adminHost": "0.0.0.0",  # noqa: S104
        "adminPort": 28280,
        "apiToken": "sentinel-api-token",
        "host": "0.0.0.0",  # noqa: S104
        "password": "sentinel-Kx7Qw2Zr9Lm4",
        "pathToken": TOKEN,
        "port": 28200,
        "previousPasswords": ["sentinel-previous"],
        "publicUrl": f"https://{HOST}",
        "recoveryMode": "history",
        "store": STORE,
        "thingspaceCredentials": dict.fromkeys(("appKey", "appSecret", "username", "password"), "sentinel-thingspace"),
        "trustedProxyHops": 1,
        "username": "plant-a",
    }
    ListenerSettings.model_validate(cluster.settings)


def test_sqlite_has_one_replica_and_a_volume_that_is_found_again() -> None:
    cluster, outputs = deploy(store=SqliteVolume("5Gi", "ssd"))
    workload = cluster.find("StatefulSet")
    assert (
        workload["metadata"]["name"]
        == deploy(Cluster("2"), store=SqliteVolume())[0].find("StatefulSet")["metadata"]["name"]
    )
    assert (workload["spec"]["replicas"], workload["spec"]["serviceName"]) == (1, "listener-1")
    [template] = workload["spec"]["volumeClaimTemplates"]  # glossary: allow
    assert template["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "ssd",
    }
    [container] = cluster.pod["containers"]
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert cluster.settings["store"] == f"sqlite:///{paths['store']}/inbox.sqlite3"
    assert "StatefulSet" in outputs["dependencies"]


TLS = [{"hosts": [HOST], "secretName": "certificate"}]


@pytest.mark.parametrize(
    ("ingress", "annotations", "tls"),
    [
        (IngressRoute(), {}, None),
        (IngressRoute(annotations={"a": "b"}, tls_secret="certificate"), {"a": "b"}, TLS),
        (IngressRoute(issuer="acme"), {"cert-manager.io/cluster-issuer": "acme"}, "own"),
        (IngressRoute(issuer="acme", issuer_kind="Issuer"), {"cert-manager.io/issuer": "acme"}, "own"),
    ],
)
def test_ingress_routes_the_callback_path_alone(ingress: IngressRoute, annotations: dict[str, str], tls: Any) -> None:
    cluster, outputs = deploy(ingress=ingress)
    manifest = cluster.find("Ingress")
    [rule] = manifest["spec"]["rules"]
    assert rule == {
        "host": HOST,
        "http": {
            "paths": [
                {
                    "path": "/callbacks/",
                    "pathType": "Prefix",
                    "backend": {"service": {"name": "listener-1", "port": {"name": "callbacks"}}},
                }
            ]
        },
    }
    assert manifest["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true", **annotations}
    if tls == "own":
        secret = f"{manifest['metadata']['labels']['app.kubernetes.io/instance']}-tls"
        tls = [{"hosts": [HOST], "secretName": secret}]
    assert manifest["spec"].get("tls") == tls
    assert "Ingress" in outputs["dependencies"]


def test_gateway_routes_the_callback_path_alone() -> None:
    cluster, outputs = deploy(gateway=GatewayRoute("public", "gateways", "https"))
    assert cluster.find("HTTPRoute")["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": [HOST],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/callbacks/"}}],
                "backendRefs": [{"name": "listener-1", "port": 28200}],
            }
        ],
    }
    assert "CustomResource" in outputs["dependencies"]


def test_admin_port_is_open_to_the_named_namespaces_and_prometheus_alone() -> None:
    cluster, _ = deploy(admin=AdminAccess(["operations"]), monitoring=True)
    callbacks, admin = cluster.find("NetworkPolicy")["spec"]["ingress"]
    assert callbacks == {"ports": [{"port": "callbacks"}]}
    assert admin["ports"] == [{"port": "admin"}]
    assert [sorted(peer) for peer in admin["from"]] == [["namespaceSelector"], ["namespaceSelector", "podSelector"]]
    services = {
        item["metadata"]["name"]: item["spec"]["ports"] for item in cluster.created if item["kind"] == "Service"
    }
    assert services["listener-admin-1"] == [{"name": "admin", "port": 28280, "targetPort": "admin"}]
    monitor, pod = cluster.find("PodMonitor")["spec"], cluster.find("Deployment")["spec"]["template"]
    assert monitor["podMetricsEndpoints"] == [{"port": "admin", "path": "/metrics"}]
    assert monitor["jobLabel"] in pod["metadata"]["labels"]


def test_options_reach_their_fields() -> None:
    resources = {"limits": {"memory": "1Gi"}}
    cluster, _ = deploy(
        replicas=4,
        namespace="sms",
        resources=resources,
        rollout_timeout_seconds=20,
        pre_stop_seconds=0,
        sinks=[{"name": "hub", "kind": "http", "url": "https://hub.example.com"}],
        settings={"retentionDays": 90, "trustedProxyHops": 2, "tracing": True},
        environment={"OTEL_SERVICE_NAME": "sms", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        gateway=GatewayRoute("public"),
    )
    workload = cluster.find("Deployment")
    assert workload["spec"]["replicas"] == 4
    assert workload["spec"]["progressDeadlineSeconds"] == 20
    assert workload["metadata"]["annotations"] == {"pulumi.com/timeoutSeconds": "20"}
    assert {manifest["metadata"]["namespace"] for manifest in cluster.created} == {"sms"}
    [container] = cluster.pod["containers"]
    assert container["resources"] == resources
    assert container["env"] == [
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"},
        {"name": "OTEL_SERVICE_NAME", "value": "sms"},
    ]
    assert "lifecycle" not in container
    settings = cluster.settings
    assert (settings["retentionDays"], settings["trustedProxyHops"], settings["sinks"][0]["name"]) == (90, 2, "hub")


def test_revision_changes_with_the_pod_template_alone() -> None:
    revision = deploy()[1]["revision"]
    assert deploy(replicas=5, admin=AdminAccess(["operations"]))[1]["revision"] == revision
    others = [
        deploy(Cluster("2")),  # the settings have changed, so that the Secret has another name
        deploy(image="registry.example.com/listener:2"),
        deploy(pre_stop_seconds=9),
    ]
    assert len({revision, *(outputs["revision"] for _, outputs in others)}) == 4


def test_transform_changes_manifests_and_revision() -> None:
    def add_toleration(manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == "Deployment":
            manifest["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
        return manifest

    cluster, outputs = deploy(transform=add_toleration)
    assert cluster.pod["tolerations"] == [{"operator": "Exists"}]
    assert outputs["revision"] != deploy()[1]["revision"]


def test_outputs_are_accepted_for_values_of_other_resources() -> None:
    cluster, outputs = deploy(
        host=lambda: pulumi.Output.from_input(HOST),
        store=lambda: pulumi.Output.from_input(STORE),
        namespace=lambda: pulumi.Output.from_input("sms"),
        image=lambda: pulumi.Output.from_input("listener:1"),
    )
    assert cluster.settings["store"] == STORE
    assert outputs["url"] == f"https://{HOST}"


def test_stack_file_has_every_option() -> None:
    cluster, _ = deploy(
        settings_of_stack=HostSettings.from_values(
            {
                "kind": "kubernetes",
                "image": "listener:1",
                "host": HOST,
                "store": {"size": "5Gi", "storageClass": "ssd"},
                "ingress": {"className": "nginx", "issuer": "acme", "issuerKind": "Issuer"},
                "adminNamespaces": ["operations"],
                "monitoring": True,
                "namespace": None,
                "settings": {"retentionDays": 90},
                "rolloutTimeoutSeconds": 60,
            }
        )
    )
    assert cluster.find("StatefulSet")["metadata"]["annotations"] == {"pulumi.com/timeoutSeconds": "60"}
    assert cluster.find("Ingress")["metadata"]["annotations"]["cert-manager.io/issuer"] == "acme"
    assert cluster.settings["retentionDays"] == 90
    assert {"PodMonitor", "StatefulSet"} <= {manifest["kind"] for manifest in cluster.created}
    arguments = set(inspect.signature(KubernetesListener).parameters)
    keys = {to_snake_case(key) for key in stack_schema.HOST_SCHEMAS["kubernetes"]}
    of_the_program = {"name", "account_names", "credential", "transform", "opts"}
    assert keys - {"kind", "admin_namespaces"} == arguments - of_the_program - {"admin"}


@pytest.mark.parametrize(("stack", "workload"), [("staging", "StatefulSet"), ("prod", "Deployment")])
def test_shipped_stack_deploys_its_listener(stack: str, workload: str) -> None:
    path = TOP / "stacks" / f"Pulumi.{stack}.yaml"
    values = StackFile(path, compose_file(path)).values["listener"]
    if stack == "prod":
        values["store"] = STORE  # it is encrypted
    cluster, outputs = deploy(settings_of_stack=HostSettings.from_values(values))
    assert cluster.find(workload)["spec"]["replicas"] == values.get("replicas", 1)
    assert outputs["url"] == f"https://{values['host']}"


def test_instance_is_a_label_that_is_unique_for_a_long_name() -> None:
    cluster, _ = deploy()
    label = cluster.find("Deployment")["metadata"]["labels"]["app.kubernetes.io/instance"]
    pulumi.runtime.set_mocks(cluster, project="sms", stack="a-long-name-of-a-stack-for-one-developer-and-one-branch")
    names = {kubernetes.instance_name(f"{'l' * 39}{suffix}") for suffix in "ab"}
    assert all(re.fullmatch(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])", name) for name in (*names, label))
    assert len(names) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"name": name}, "name is ") for name in ("Listener", "1listener", "listener-", "l" * 41)),
        ({"account_names": ACCOUNT}, "account_names: must be a list"),
        ({"credential": "secret"}, "credential must be a CallbackCredential, not str"),
        ({"image": ""}, "image must be str or Output, not empty"),
        ({"host": "https://sms.example.com"}, "host is 'https://sms.example.com'; it must be a DNS name"),
        ({"host": "sms.example.com:443"}, "host is "),
        ({"host": "SMS.example.com"}, "host is "),
        ({"host": "10.0.0.1"}, "host is "),
        ({"store": None}, "store must be str or Output or SqliteVolume, not NoneType"),
        ({"store": "sqlite:////sentinel"}, "store is a file, which a pod loses: set SqliteVolume()"),
        ({"store": "mysql://sentinel"}, "store must be a PostgreSQL URL"),
        ({"replicas": 0}, "replicas is 0; it must be a whole number from 1 to 1000"),
        ({"replicas": True}, "replicas is True; it must be a whole number"),
        ({"store": SqliteVolume(), "replicas": 2}, "replicas is 2, but listeners cannot share a SQLite store"),
        ({"ingress": IngressRoute(), "gateway": GatewayRoute("x")}, "gateway and ingress are both set"),
        ({"ingress": {"className": "x"}}, "ingress must be IngressRoute, not dict"),
        ({"ingress": IngressRoute(tls_secret="x", issuer="y")}, "ingress.issuer and tlsSecret are both set"),
        ({"ingress": IngressRoute(issuer="y", issuer_kind="issuer")}, "ingress.issuer_kind must be ClusterIssuer"),
        ({"ingress": IngressRoute(annotations={"a": True})}, "ingress.annotations has a without text"),  # type: ignore[dict-item]
        ({"admin": AdminAccess("operations")}, "admin.namespaces must be list or tuple, not str"),
        ({"recovery_mode": "always"}, "recovery_mode is 'always'; it must be off or startCallbacks or history"),
        ({"recovery_mode": "history"}, "recovery_credentials must be set for recoveryMode history"),
        (
            {"recovery_credentials": {"pasword": "y"}},
            "recovery_credentials.pasword cannot be set here; did you mean pas",
        ),
        ({"recovery_credentials": {"appKey": "x"}}, "recovery_credentials has no appSecret, username, password"),
        ({"settings": {"port": 80}}, "settings.port cannot be set here"),
        ({"settings": {"retentionDay": 1}}, "settings.retentionDay cannot be set here; did you mean retentionDays?"),
        ({"settings": {"retention_days": 1}}, "settings.retention_days cannot be set here; did you mean"),
        ({"recovery_credentials": {"app_key": "x"}}, "recovery_credentials.app_key cannot be set here"),
        ({"rollout_timeout_seconds": 0}, "rollout_timeout_seconds is 0; it must be a whole number from 10 to 3600"),
        ({"pre_stop_seconds": -1}, "pre_stop_seconds is -1"),
        (
            {"environment": {"THINGSPACE_LISTENER_PORT": "1"}},
            "environment has THINGSPACE_LISTENER_PORT: use the option",
        ),
        ({"environment": {"OTEL_BSP_SCHEDULE_DELAY": 50}}, "environment has OTEL_BSP_SCHEDULE_DELAY without text"),
        ({"namespace": 5}, "namespace must be str or Output, not int"),
        ({"namespace": ""}, "namespace must be str or Output, not empty"),
        ({"namespace": "My_NS"}, "namespace is 'My_NS'; it must be"),
        ({"sinks": "http"}, "sinks must be list or tuple or Output, not str"),
        ({"api_token": ""}, "api_token must be str or Output, not empty"),
        ({"resources": "100m"}, "resources must be dict or Output, not str"),
        ({"resources": {"request": {}}}, "resources.request cannot be set here; did you mean requests?"),
        ({"monitoring": "false"}, "monitoring must be bool, not str"),
        ({"ingress": IngressRoute(class_name=5)}, "ingress.class_name must be str or Output, not int"),  # type: ignore[arg-type]
        ({"ingress": IngressRoute(annotations="a")}, "ingress.annotations must be dict, not str"),  # type: ignore[arg-type]
        ({"gateway": GatewayRoute("gateway", section_name=443)}, "gateway.section_name must be str"),  # type: ignore[arg-type]
        ({"store": SqliteVolume(size=5)}, "store.size must be str or Output, not int"),  # type: ignore[arg-type]
        ({"store": SqliteVolume(size=None)}, "store.size must be str or Output, not NoneType"),  # type: ignore[arg-type]
        ({"admin": AdminAccess([])}, "admin.namespaces is empty"),
        ({"name": 5}, "name is 5"),
        ({"transform": lambda _manifest: {"kind": "x"}}, "transform must return a manifest for Secret with apiVersion"),
        (
            {"transform": lambda manifest: {key: manifest[key] for key in ("apiVersion", "kind", "metadata")}},
            "transform must return a manifest for Deployment with spec",
        ),
        (
            {"transform": lambda manifest: {**manifest, "spec": {"replicas": 1}}},
            "transform must return a manifest for Deployment with spec.template",
        ),
        ({"transform": "x"}, "transform must be a function, not str"),
        ({"transform": lambda _manifest: None}, "transform must return a manifest for Secret, not NoneType"),
        ({"opts": pulumi.ResourceOptions(import_="x")}, "set adopt=True"),
    ],
)
def test_invalid_argument_is_rejected_before_anything_is_created(changes: dict[str, Any], message: str) -> None:
    cluster = Cluster("1")
    with pytest.raises(InvalidArgument) as error:
        deploy(cluster, **changes)
    assert message in str(error.value)
    assert "sentinel" not in str(error.value)
    assert cluster.created == []


def test_missing_sdk_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pulumi_kubernetes.apiextensions", None)
    with pytest.raises(InvalidArgument, match=re.escape("pip install -e '.[kubernetes]' in a clone")):
        deploy()


def test_further_settings_are_those_that_the_component_does_not_set() -> None:
    cluster, _ = deploy(
        api_token="sentinel-api-token-x",
        sinks=[],
        recovery_mode="off",
        recovery_credentials=dict.fromkeys(("appKey", "appSecret", "username", "password"), "x"),
    )
    every = {str(field.alias) for field in ListenerSettings.model_fields.values()}
    assert every - set(cluster.settings) == set(KUBERNETES_KEYS["settings"])
