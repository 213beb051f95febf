"""Forwarding service: the forwarders of all sinks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from thingspace_provider.listener.forwarding.forwarder import Forwarder
from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics
from thingspace_provider.listener.forwarding.settings import SinkSettings
from thingspace_provider.listener.forwarding.sinks.factory import create_sink
from thingspace_provider.listener.model import StoredMessage
from thingspace_provider.listener.store.base import Outbox


class ForwardingService:
    """Forwards messages from its creation in an event loop until `close`. Raises InvalidSink."""

    def __init__(
        self,
        sink_settings: Sequence[SinkSettings],
        outbox: Outbox,
        metrics: ForwardingMetrics,
        create_forwarder: Callable[..., Forwarder] = Forwarder,
    ) -> None:
        sinks = [(settings, create_sink(settings)) for settings in sink_settings]
        # One thread for each sink, so that no sink waits for the store because of another.
        self._executor = ThreadPoolExecutor(max(1, len(sinks)), thread_name_prefix="forwarding")
        metrics.backlogs = outbox.backlogs
        self._forwarders = {
            settings.name: create_forwarder(settings, sink, outbox, metrics, self._executor) for settings, sink in sinks
        }

    def notify(self) -> None:
        """Make every forwarder look for outbox entries now."""
        for forwarder in self._forwarders.values():
            forwarder.notify()

    def sink_error(self, sink: str) -> str | None:
        """Return the last error of a sink with an open circuit breaker, else None."""
        forwarder = self._forwarders.get(sink)
        return forwarder.breaker.last_error if forwarder and forwarder.breaker.is_open else None

    def breaker_states(self) -> dict[str, tuple[str, str | None]]:
        """Return the state of the circuit breaker and the last error, None after a success, of each sink."""
        return {
            name: (forwarder.breaker.state, forwarder.breaker.last_error or None)
            for name, forwarder in self._forwarders.items()
        }

    def accepts(self, sink: str, message: StoredMessage) -> bool:
        """Return whether a message is for a sink. A sink that is not configured accepts all its entries."""
        forwarder = self._forwarders.get(sink)
        return forwarder is None or forwarder.accepts(message)

    async def close(self) -> None:
        """End within seconds. Undelivered entries stay in the outbox."""
        await asyncio.gather(*(forwarder.close() for forwarder in self._forwarders.values()))
        self._executor.shutdown()
