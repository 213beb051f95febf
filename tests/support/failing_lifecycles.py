"""Providers with failing lifecycles, which a provider process loads by name."""

from __future__ import annotations

import asyncio

from thingspace_provider import providers
from thingspace_provider.lifecycle.activation import ActivationLifecycle
from thingspace_provider.lifecycle.model import Context, CreateResult, State

ERRORS: dict[str, BaseException] = {
    "SystemExit": SystemExit("sentinel"),
    "KeyboardInterrupt": KeyboardInterrupt("sentinel"),
    "GeneratorExit": GeneratorExit("sentinel"),
    "CancelledError": asyncio.CancelledError("sentinel"),
    "RecursionError": RecursionError("sentinel"),
    "MemoryError": MemoryError("sentinel"),
}


class _FailingLifecycle(ActivationLifecycle):
    """Lifecycle whose create fails as its only trigger requests."""

    def create(self, context: Context, inputs: State) -> CreateResult:
        del context
        raise ERRORS[inputs["triggers"][0]]


class FailingProvider(providers._LifecycleProvider):  # noqa: SLF001  the adapter is what is tested
    """Provider with the failing lifecycle."""

    lifecycle = _FailingLifecycle()
