"""Listener hosts: where a listener runs."""

from thingspace_provider.hosting.external import ExternalListener
from thingspace_provider.hosting.factory import create_listener_host
from thingspace_provider.hosting.kubernetes import KubernetesListener
from thingspace_provider.hosting.kubernetes_manifests import AdminAccess, GatewayRoute, IngressRoute, SqliteVolume
from thingspace_provider.hosting.local import LocalListener

__all__ = [
    "AdminAccess",
    "ExternalListener",
    "GatewayRoute",
    "IngressRoute",
    "KubernetesListener",
    "LocalListener",
    "SqliteVolume",
    "create_listener_host",
]
