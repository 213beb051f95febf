"""Listener host of a stack, created from its settings."""

from __future__ import annotations

from collections.abc import Sequence

from thingspace_provider.config.stack_settings import HostSettings
from thingspace_provider.hosting.external import ExternalListener
from thingspace_provider.hosting.local import LocalListener
from thingspace_provider.resources import CallbackCredential, ListenerHost


def create_listener_host(
    name: str, settings: HostSettings, account_names: Sequence[str], credential: CallbackCredential
) -> ListenerHost:
    """Start a local listener, or refer to the external one.

    Args:
        name: Pulumi resource name of a local listener.
        settings: the listener host of the stack settings.
        account_names: accounts whose callbacks the listener accepts.
        credential: what ThingSpace sends with every callback.
    """
    if settings.kind == "local":
        return LocalListener(name, account_names=account_names, credential=credential, port=settings.port)
    return ExternalListener(url=settings.url, credential=credential, readiness=settings.readiness)
