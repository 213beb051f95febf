"""Listener host of a stack, created from its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thingspace_provider.config.stack_settings import HostSettings
from thingspace_provider.hosting.external import ExternalListener
from thingspace_provider.hosting.kubernetes import KubernetesListener
from thingspace_provider.hosting.kubernetes_manifests import AdminAccess, GatewayRoute, IngressRoute, SqliteVolume
from thingspace_provider.hosting.local import LocalListener
from thingspace_provider.resources import CallbackCredential, ListenerHost
from thingspace_provider.resources.base import to_snake_case

MAPS = {"store": SqliteVolume, "ingress": IngressRoute, "gateway": GatewayRoute}


def create_listener_host(
    name: str, settings: HostSettings, account_names: Sequence[str], credential: CallbackCredential
) -> ListenerHost:
    """Deploy a listener on Kubernetes, start a local one, or refer to the external one.

    Args:
        name: Pulumi resource name of the listener.
        settings: the listener host of the stack settings.
        account_names: accounts whose callbacks the listener accepts.
        credential: what ThingSpace sends with every callback.
    """
    if settings.kind == "kubernetes":
        arguments = _to_arguments(settings.options)
        return KubernetesListener(name, account_names=account_names, credential=credential, **arguments)
    if settings.kind == "local":
        return LocalListener(name, account_names=account_names, credential=credential, port=settings.port)
    return ExternalListener(url=settings.url, credential=credential, readiness=settings.readiness)


def _to_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the keys of a stack file to arguments of KubernetesListener. An empty value is the default."""
    arguments = {to_snake_case(key): value for key, value in options.items() if value is not None}
    for key, argument_type in MAPS.items():
        if isinstance(arguments.get(key), dict):
            values = {to_snake_case(name): value for name, value in arguments[key].items()}
            arguments[key] = argument_type(**values)
    if namespaces := arguments.pop("admin_namespaces", None):
        arguments["admin"] = AdminAccess(namespaces)
    return arguments
