"""Listener hosts: where a listener runs."""

from thingspace_provider.hosting.external import ExternalListener
from thingspace_provider.hosting.factory import create_listener_host
from thingspace_provider.hosting.local import LocalListener

__all__ = ["ExternalListener", "LocalListener", "create_listener_host"]
