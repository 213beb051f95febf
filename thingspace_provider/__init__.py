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
    from thingspace_provider.hosting import ExternalListener, LocalListener, create_listener_host
    from thingspace_provider.resources import (
        CallbackCredential,
        CallbackRegistration,
        ListenerHost,
        SmsCallbackActivation,
        SmsCallbacks,
    )

__all__ = [
    "CallbackCredential",
    "CallbackRegistration",
    "Credentials",
    "Deadline",
    "ExternalListener",
    "HistoryPage",
    "Limits",
    "ListenerHost",
    "LocalListener",
    "Registration",
    "SmsCallbackActivation",
    "SmsCallbacks",
    "StackSettings",
    "ThingSpaceClient",
    "ThingSpaceError",
    "create_listener_host",
]

_LAZY_EXPORTS = {
    "CallbackCredential": "resources",
    "CallbackRegistration": "resources",
    "Credentials": "api",
    "Deadline": "api",
    "ExternalListener": "hosting",
    "HistoryPage": "api",
    "Limits": "api",
    "ListenerHost": "resources",
    "LocalListener": "hosting",
    "Registration": "api",
    "SmsCallbackActivation": "resources",
    "SmsCallbacks": "resources",
    "StackSettings": "config.stack_settings",
    "ThingSpaceClient": "api",
    "ThingSpaceError": "api.errors",
    "create_listener_host": "hosting",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_EXPORTS[name]}"), name)
