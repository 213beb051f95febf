"""Where a listener can run."""

from thingspace_provider.hosting.external import ExternalListener
from thingspace_provider.hosting.local import LocalListener

__all__ = ["ExternalListener", "LocalListener"]
