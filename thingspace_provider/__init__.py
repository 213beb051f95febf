"""Pulumi resources for SMS callbacks on Verizon ThingSpace.

The public names are imported at their first use. So the listener, the emulator and the command line do not load
Pulumi, and a program that sends no request loads no HTTP library.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thingspace_provider.api import Credentials, Deadline, HistoryPage, Limits, Registration, ThingSpaceClient
    from thingspace_provider.api.errors import ThingSpaceError
    from thingspace_provider.config.stack_settings import StackSettings
    from thingspace_provider.hosting import (
        AdminAccess,
        ExternalListener,
        GatewayRoute,
        IngressRoute,
        KubernetesListener,
        LocalListener,
        SqliteVolume,
        create_listener_host,
    )
    from thingspace_provider.resources import (
        CallbackCredential,
        CallbackRegistration,
        ListenerHost,
        SmsCallbackActivation,
        SmsCallbacks,
    )

__all__ = [
    "AdminAccess",
    "CallbackCredential",
    "CallbackRegistration",
    "Credentials",
    "Deadline",
    "ExternalListener",
    "GatewayRoute",
    "HistoryPage",
    "IngressRoute",
    "KubernetesListener",
    "Limits",
    "ListenerHost",
    "LocalListener",
    "Registration",
    "SmsCallbackActivation",
    "SmsCallbacks",
    "SqliteVolume",
    "StackSettings",
    "ThingSpaceClient",
    "ThingSpaceError",
    "create_listener_host",
]

_LAZY_EXPORTS = {
    "AdminAccess": "hosting",
    "CallbackCredential": "resources",
    "CallbackRegistration": "resources",
    "Credentials": "api",
    "Deadline": "api",
    "ExternalListener": "hosting",
    "GatewayRoute": "hosting",
    "HistoryPage": "api",
    "IngressRoute": "hosting",
    "KubernetesListener": "hosting",
    "Limits": "api",
    "ListenerHost": "resources",
    "LocalListener": "hosting",
    "Registration": "api",
    "SmsCallbackActivation": "resources",
    "SmsCallbacks": "resources",
    "SqliteVolume": "hosting",
    "StackSettings": "config.stack_settings",
    "ThingSpaceClient": "api",
    "ThingSpaceError": "api.errors",
    "create_listener_host": "hosting",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_EXPORTS[name]}"), name)
