"""Providers whose lifecycle goes wrong in ways that no real one should; a provider process loads them by name."""

from __future__ import annotations

import asyncio

from thingspace_provider import providers
from thingspace_provider.lifecycle.activation import SmsCallbackActivation
from thingspace_provider.lifecycle.model import Context, Created, State

ERRORS: dict[str, BaseException] = {
    "SystemExit": SystemExit("sentinel"),
    "KeyboardInterrupt": KeyboardInterrupt("sentinel"),
    "GeneratorExit": GeneratorExit("sentinel"),
    "CancelledError": asyncio.CancelledError("sentinel"),
    "RecursionError": RecursionError("sentinel"),
    "MemoryError": MemoryError("sentinel"),
}


class _FailingLifecycle(SmsCallbackActivation):
    """Its create ends as its only trigger says."""

    def create(self, context: Context, inputs: State) -> Created:
        del context
        raise ERRORS[inputs["triggers"][0]]


class FailingProvider(providers._Adapter):  # noqa: SLF001  the adapter is what is tested
    """The real adapter over it."""

    lifecycle = _FailingLifecycle()
