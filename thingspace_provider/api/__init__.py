"""ThingSpace's Connectivity Management API over HTTP.

The client and its HTTP libraries are imported at their first use. They take longer to load than all other modules,
and a preview or an update without changes sends no request.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thingspace_provider.api.credentials import PRODUCTION_BASE_URL, Credentials
from thingspace_provider.api.limits import Limits

if TYPE_CHECKING:
    from thingspace_provider.api.client import HistoryPage, Registration, ThingSpaceClient
    from thingspace_provider.api.deadline import Deadline

__all__ = [
    "PRODUCTION_BASE_URL",
    "Credentials",
    "Deadline",
    "HistoryPage",
    "Limits",
    "Registration",
    "ThingSpaceClient",
]

_LAZY_EXPORTS = {
    "Deadline": "deadline",
    "HistoryPage": "client",
    "Registration": "client",
    "ThingSpaceClient": "client",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_EXPORTS[name]}"), name)
