"""ThingSpace over HTTP: tokens, sessions, errors, one method per call.

What sends is imported when it is first used, as `api.Client`: HTTP takes longer to load than everything else here,
and a program, a preview or an update without changes sends nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thingspace_provider.api.credentials import PRODUCTION_BASE_URL, Credentials
from thingspace_provider.api.limits import Limits
from thingspace_provider.common.urls import mask_url, url_secrets

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
    "mask_url",
    "url_secrets",
]

_LAZY_EXPORTS = {
    "HistoryPage": "client",
    "ThingSpaceClient": "client",
    "Deadline": "deadline",
    "Registration": "client",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY_EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_EXPORTS[name]}"), name)
