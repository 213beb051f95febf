"""ThingSpace over HTTP: tokens, sessions, errors, one method per call.

What sends is imported when it is first used, as `api.Client`: HTTP takes longer to load than everything else here,
and a program, a preview or an update without changes sends nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from thingspace_provider.api.credentials import PRODUCTION, Credentials
from thingspace_provider.api.limits import Limits
from thingspace_provider.common.urls import secrets_in, shown

if TYPE_CHECKING:
    from thingspace_provider.api.client import Block, Client, Registration
    from thingspace_provider.api.deadline import Patience

__all__ = [
    "PRODUCTION",
    "Block",
    "Client",
    "Credentials",
    "Limits",
    "Patience",
    "Registration",
    "secrets_in",
    "shown",
]

_LATER = {
    "Block": "client",
    "Client": "client",
    "Patience": "deadline",
    "Registration": "client",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
