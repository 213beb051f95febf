"""KubernetesListener: a durable, replicated listener on Kubernetes."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pulumi

from thingspace_provider.hosting.kubernetes_manifests import (
    ADMIN_PORT,
    DEFAULT_RESOURCES,
    PORT,
    STORE_DIRECTORY,
    AdminAccess,
    GatewayRoute,
    IngressRoute,
    Manifest,
    ManifestOptions,
    SqliteVolume,
    build_manifests,
)
from thingspace_provider.lifecycle.validation import kubernetes_option_errors
from thingspace_provider.resources.base import (
    InvalidArgument,
    check_account_names,
    reject_import,
    to_camel_case,
    to_snake_case,
)
from thingspace_provider.resources.credential import CallbackCredential

NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")  # the engine adds up to 16 characters
REVISION_DIGITS = 12
# A route to another host is another object, so that the registered URL is served until the registration has followed.
ROUTED_HOSTS = ["spec.rules[*].host", "spec.hostnames"]
KEYS_AS_WRITTEN = ("environment", "resources", "settings", "recovery_credentials")  # these maps go into manifests
FIELD_TYPES: dict[str, tuple[type, ...]] = {"annotations": (dict,), "namespaces": (list, tuple)}  # all others are text
Transform = Callable[[Manifest], Manifest]


class KubernetesListener(pulumi.ComponentResource):
    """Listeners on Kubernetes behind one URL, `https://{host}/callbacks/{path token}/{account}`.

    All settings are in one immutable Secret, so a changed setting or credential is a roll-out too. If a roll-out fails,
    the old pods and the registration stay as they were.

    Args:
        name: Pulumi component name: small letters, digits and `-`, at most 40 characters.
        image: image of the listener, made by `make image`.
        host: DNS name under which ThingSpace reaches the Ingress or Gateway.
        account_names: accounts whose callbacks the listener accepts.
        credential: what ThingSpace sends with every callback.
        store: URL of a PostgreSQL database, `postgresql://user:password@host/database`, always a secret; or a
            SqliteVolume.
        replicas: number of pods; the default is 2 with PostgreSQL, and 1 with SQLite, which permits no more.
        namespace: namespace of all objects; None is that of the Kubernetes provider.
        ingress: route through an Ingress.
        gateway: route through a Gateway. Without ingress and gateway, route `/callbacks/` to the Service yourself.
        sinks: destinations of messages, as in the settings of the listener.
        recovery_mode: `off`, `startCallbacks` or `history`: how the listener drains ThingSpace's queue.
        recovery_credentials: `appKey`, `appSecret`, `username`, `password` and `baseUrl` for it. Always a secret.
        api_token: bearer token of the inbox page and `/v1`; without it, both are off. Always a secret.
        settings: further settings of the listener by their keys, for example `{"retentionDays": 90}`.
        environment: environment variables of the container, for example those of OpenTelemetry and of proxies. They are
            readable in the pod template: put no secret there.
        resources: requests and limits of the container; by default 100m CPU and 128Mi to 256Mi of memory.
        admin: access to the admin port from other namespaces. `kubectl port-forward` works without it.
        monitoring: whether to make a PodMonitor for prometheus-operator.
        rollout_timeout_seconds: time for a roll-out, after which `pulumi up` fails, from 10 to 3600 seconds.
        pre_stop_seconds: time that a pod still accepts callbacks after it was removed from the Service.
        transform: function that returns each manifest, changed as needed, before anything is created. Values can be
            outputs.
        opts: Pulumi resource options of the component.

    Raises:
        InvalidArgument: before any resource is created.

    Example:
        import pulumi
        from thingspace_provider import CallbackCredential, IngressRoute, KubernetesListener

        credential = CallbackCredential("credential")
        listener = KubernetesListener(
            "listener",
            image="registry.example.com/thingspace-provider:0.1.0",
            host="sms.example.com",
            account_names=["0000123456-00001"],
            credential=credential,
            store=pulumi.Output.secret("postgresql://sms:invented@database.example.com/sms"),
            ingress=IngressRoute(issuer="letsencrypt"),
        )

    Operations:
        preview: shows the objects that change. Connects to the cluster, as pulumi_kubernetes does, not to ThingSpace.
        create: creates the objects, and waits until the pods are ready. The registration follows.
        update: rolls out new pods and waits until they are ready. `revision` changes, and startCallbacks is sent again.
        replace: a changed `host` replaces the route. The old one is removed after the registration has followed.
        refresh: reads the objects. The next `pulumi up` repairs what was changed.
        delete: removes the objects after the registrations. Messages stay in PostgreSQL, and in the volume until it is
            deleted.
        import: not supported; objects of other tools can be imported as resources of pulumi_kubernetes.

    Errors:
        `pulumi_kubernetes is not installed`: install the extra `kubernetes`.
        `must be a PostgreSQL URL`: correct `store`.
        `listeners cannot share a SQLite store`: use PostgreSQL, or set `replicas=1`.
        `is a file, which a pod loses`: pass `SqliteVolume()`.
        `and ingress are both set`: remove one of `ingress` and `gateway`.
        `it must be a DNS name in small letters without scheme, port and path`: correct `host`.
        `must be set for recoveryMode`: set `recovery_credentials`.
        `cannot be set here`: correct the key of `settings`, or use the input of the component.
    """

    readiness = True

    url: pulumi.Output[str]
    """Scheme and host. Known when the roll-out has succeeded."""
    revision: pulumi.Output[str]
    """Fingerprint of the pod template. Known when the roll-out has succeeded."""

    def __init__(
        self,
        name: str,
        *,
        image: pulumi.Input[str],
        host: pulumi.Input[str],
        account_names: pulumi.Input[Sequence[str]],
        credential: CallbackCredential,
        store: pulumi.Input[str] | SqliteVolume,
        replicas: int | None = None,
        namespace: pulumi.Input[str] | None = None,
        ingress: IngressRoute | None = None,
        gateway: GatewayRoute | None = None,
        sinks: pulumi.Input[Sequence[Any]] | None = None,
        recovery_mode: str | None = None,
        recovery_credentials: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        api_token: pulumi.Input[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, pulumi.Input[str]] | None = None,
        resources: Mapping[str, Any] | None = None,
        admin: AdminAccess | None = None,
        monitoring: bool = False,
        rollout_timeout_seconds: int = 300,
        pre_stop_seconds: int = 5,
        transform: Transform | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        reject_import("KubernetesListener", opts)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise _invalid(
                "name", f"is {name!r}; it must be 1 to 40 small letters, digits and -, beginning with a letter"
            )
        check_account_names("KubernetesListener", account_names)
        CallbackCredential.check("KubernetesListener", credential)
        _check_types(
            image=(image, (str, pulumi.Output)),
            host=(host, (str, pulumi.Output)),
            store=(store, (str, pulumi.Output, SqliteVolume)),
            ingress=(ingress, (IngressRoute, type(None))),
            gateway=(gateway, (GatewayRoute, type(None))),
            admin=(admin, (AdminAccess, type(None))),
            namespace=(namespace, (str, pulumi.Output, type(None))),
            sinks=(sinks, (list, tuple, pulumi.Output, type(None))),
            api_token=(api_token, (str, pulumi.Output, type(None))),
            resources=(resources, (dict, pulumi.Output, type(None))),
            monitoring=(monitoring, (bool,)),
            replicas=(replicas, (int, type(None))),
            recovery_mode=(recovery_mode, (str, type(None))),
            recovery_credentials=(recovery_credentials, (dict, pulumi.Output, type(None))),
            settings=(settings, (dict, type(None))),
            environment=(environment, (dict, type(None))),
            rollout_timeout_seconds=(rollout_timeout_seconds, (int,)),
            pre_stop_seconds=(pre_stop_seconds, (int,)),
        )
        _check_fields(store=store, ingress=ingress, gateway=gateway, admin=admin)
        if transform is not None and not callable(transform):
            raise _invalid("transform", f"must be a function, not {type(transform).__name__}")
        _check_options(
            host=host,
            namespace=namespace,
            resources=resources,
            store=vars(store) if isinstance(store, SqliteVolume) else store,
            replicas=replicas,
            ingress=ingress and vars(ingress),
            gateway=gateway and vars(gateway),
            recovery_mode=recovery_mode,
            recovery_credentials=recovery_credentials,
            settings=settings,
            environment=environment,
            rollout_timeout_seconds=rollout_timeout_seconds,
            pre_stop_seconds=pre_stop_seconds,
        )
        if replicas is None:
            replicas = 1 if isinstance(store, SqliteVolume) else 2
        host, store_url = _checked("host", host), f"sqlite:///{STORE_DIRECTORY}/inbox.sqlite3"
        base_url = pulumi.Output.concat("https://", host)
        listener_settings = {
            "accounts": account_names,
            "username": credential.username,
            "password": credential.password,
            "previousPasswords": credential.previous_passwords,
            "pathToken": credential.path_token,
            "apiToken": api_token,
            "store": store_url if isinstance(store, SqliteVolume) else _checked("store", store),
            "sinks": sinks,
            "recoveryMode": recovery_mode,
            "thingspaceCredentials": recovery_credentials,
            "host": "0.0.0.0",  # noqa: S104  pods have addresses of their own
            "port": PORT,
            "adminHost": "0.0.0.0",  # noqa: S104  kubelet's probes come from the node
            "adminPort": ADMIN_PORT,
            "publicUrl": base_url,
            "trustedProxyHops": 1 if ingress or gateway else None,
            **(settings or {}),
        }
        settings_file = pulumi.Output.json_dumps(
            {key: value for key, value in listener_settings.items() if value is not None}, sort_keys=True
        )
        names: dict[str, Any] = {}
        resolvers: dict[str, Any] = {}
        for purpose in ("settings", "account", "service"):
            names[purpose], resolvers[purpose] = pulumi.deferred_output()
        try:
            manifests = build_manifests(
                ManifestOptions(
                    instance=instance_name(name),
                    image=image,
                    host=host,
                    volume=store if isinstance(store, SqliteVolume) else None,
                    replicas=replicas,
                    namespace=None if namespace is None else _checked("namespace", namespace),
                    ingress=ingress,
                    gateway=gateway,
                    settings=pulumi.Output.secret(settings_file),
                    environment=environment or {},
                    resources=DEFAULT_RESOURCES if resources is None else resources,
                    admin=admin,
                    monitoring=monitoring,
                    rollout_timeout_seconds=rollout_timeout_seconds,
                    pre_stop_seconds=pre_stop_seconds,
                    secret_name=names["settings"],
                    service_account_name=names["account"],
                    service_name=names["service"],
                )
            )
            if transform:
                manifests = {
                    purpose: _transformed(transform, purpose, manifest) for purpose, manifest in manifests.items()
                }
            create = _import_kubernetes()
            super().__init__("thingspace:index:KubernetesListener", name, None, opts)
            objects = {}
            for purpose, manifest in manifests.items():
                suffix = "" if purpose in ("workload", "service") else f"-{purpose}"
                replaced = ROUTED_HOSTS if purpose == "route" else None
                child_opts = pulumi.ResourceOptions(parent=self, replace_on_changes=replaced)
                objects[purpose] = create(f"{name}{suffix}", manifest, child_opts)
                if purpose in resolvers:
                    resolvers.pop(purpose)(objects[purpose].metadata["name"])
        finally:
            for resolve in resolvers.values():  # after an error: the SDK waits for all outputs before the program ends
                resolve(pulumi.Output.from_input(""))
        template = pulumi.Output.json_dumps(manifests["workload"]["spec"]["template"], sort_keys=True)
        fingerprint = pulumi.Output.unsecret(template).apply(
            lambda text: hashlib.sha256(text.encode()).hexdigest()[:REVISION_DIGITS]
        )
        reachable = [objects[purpose].id for purpose in ("workload", "service", "route") if purpose in objects]
        self.revision = pulumi.Output.all(fingerprint, objects["workload"].id).apply(lambda values: values[0])
        self.url = pulumi.Output.all(base_url, *reachable).apply(lambda values: values[0])
        self._path_token = credential.path_token
        self.register_outputs({"url": self.url, "revision": self.revision})

    def url_for(self, account_name: pulumi.Input[str]) -> pulumi.Output[str]:
        """Return the callback URL of an account. It is a secret, because its path holds a token.

        It is known when the roll-out has succeeded. A registration of it is deleted before the workload.
        """
        return pulumi.Output.concat(self.url, "/callbacks/", self._path_token, "/", account_name)


def _import_kubernetes() -> Callable[[str, Manifest, pulumi.ResourceOptions], Any]:
    """Import the SDK for Kubernetes, and return a function that creates the resource of a manifest."""
    try:
        from pulumi_kubernetes.apiextensions import CustomResource  # noqa: PLC0415  an extra
    except ImportError:
        raise InvalidArgument(
            "KubernetesListener: pulumi_kubernetes is not installed. Install the extra: "
            "pip install -e '.[kubernetes]' in a clone"
        ) from None

    def create(name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> Any:
        group, _, version = manifest["apiVersion"].rpartition("/")
        body = {to_snake_case(key): value for key, value in manifest.items()}
        try:
            module = importlib.import_module(f"pulumi_kubernetes.{group.partition('.')[0] or 'core'}.{version}")
        except ModuleNotFoundError:
            return CustomResource(name, **body, opts=opts)
        return getattr(module, manifest["kind"])(name, **body, opts=opts)

    return create


def instance_name(name: str) -> str:
    """Return a label and object name that is unique for the project, the stack and the component.

    It has at most 52 characters, because the controller of a StatefulSet adds 11 to its name in a label.
    """
    parts = (pulumi.get_project(), pulumi.get_stack(), name)
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{name}-{parts[1]}".lower())[:43].strip("-")
    return f"{readable}-{digest}"


def _check_types(**arguments: tuple[object, tuple[type, ...]]) -> None:
    for argument, (value, types) in arguments.items():
        if not isinstance(value, types) or value == "":
            names = " or ".join(item.__name__ for item in types if item is not type(None))
            given = "empty" if value == "" else type(value).__name__
            raise _invalid(argument, f"must be {names}, not {given}")


def _check_fields(**groups: object) -> None:
    """Check the types in the dataclasses among the arguments."""
    for group, value in groups.items():
        if not isinstance(value, SqliteVolume | IngressRoute | GatewayRoute | AdminAccess):
            continue
        for field in fields(value):
            given = getattr(value, field.name)
            types = FIELD_TYPES.get(field.name, (str, pulumi.Output))
            if field.default is None:
                types = (*types, type(None))
            if field.name != "storage_class" or given != "":  # an empty class is one that Kubernetes knows
                _check_types(**{f"{group}.{field.name}": (given, types)})
            if field.name == "namespaces" and not given:
                raise _invalid("admin.namespaces", "is empty; name a namespace, or omit admin")


def _check_options(**options: Any) -> None:
    as_written = {to_camel_case(key): options[key] for key in KEYS_AS_WRITTEN if key in options}
    for failure in kubernetes_option_errors({**_camel_keys(options), **as_written}):
        option, dot, key = failure.key.partition(".")
        key = key if option in as_written else to_snake_case(key)
        raise _invalid(f"{to_snake_case(option)}{dot}{key}", failure.reason)


def _camel_keys(value: Any) -> Any:
    return {to_camel_case(key): _camel_keys(item) for key, item in value.items()} if isinstance(value, dict) else value


def _checked(argument: str, value: pulumi.Input[str]) -> pulumi.Input[str]:
    """Return a value that was checked, or an output that fails if its value is invalid."""

    def check(known: str) -> str:
        _check_options(**{argument: known})
        return known

    return value.apply(check) if isinstance(value, pulumi.Output) else value


def _transformed(transform: Transform, purpose: str, manifest: Manifest) -> Manifest:
    kind, changed = manifest["kind"], transform(manifest)
    if not isinstance(changed, dict):
        raise _invalid("transform", f"must return a manifest for {kind}, not {type(changed).__name__}")
    required = ("apiVersion", "kind", "metadata", *(["spec"] if purpose == "workload" else []))
    missing = [key for key in required if not changed.get(key)]
    if purpose == "workload" and not missing and not changed["spec"].get("template"):
        missing = ["spec.template"]
    if missing:
        raise _invalid("transform", f"must return a manifest for {kind} with {', '.join(missing)}")
    return changed


def _invalid(argument: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"KubernetesListener: {argument} {reason}")
