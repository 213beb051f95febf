"""The forwarders of all sinks: begun together, woken by each commit, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from thingspace_provider.listener.forwarding.forwarder import Forwarder
from thingspace_provider.listener.forwarding.metrics import ForwardingMetrics
from thingspace_provider.listener.forwarding.settings import SinkSettings
from thingspace_provider.listener.forwarding.sinks.base import Sink
from thingspace_provider.listener.forwarding.sinks.factory import create_sink
from thingspace_provider.listener.model import StoredMessage
from thingspace_provider.listener.store.base import Outbox


class ForwardingService:
    """Forwards from when it is made, in an event loop. Raises SinkUnusable. Without sinks it does nothing."""

    def __init__(self, sink_settings: Sequence[SinkSettings], outbox: Outbox, metrics: ForwardingMetrics) -> None:
        sinks: list[tuple[SinkSettings, Sink]] = [(settings, create_sink(settings)) for settings in sink_settings]
        # A thread for each, so that no sink waits for the store on account of another.
        self._executor = ThreadPoolExecutor(max(1, len(sinks)), thread_name_prefix="forwarding")
        metrics.backlogs = outbox.backlogs
        self._forwarders = {
            settings.name: Forwarder(settings, sink, outbox, metrics, self._executor) for settings, sink in sinks
        }

    def notify(self) -> None:
        """Something was stored or is to be tried again."""
        for forwarder in self._forwarders.values():
            forwarder.notify()

    def sink_error(self, sink: str) -> str | None:
        """Why nothing goes to a sink now, or None when it works or is none of ours."""
        forwarder = self._forwarders.get(sink)
        return forwarder.breaker.last_error if forwarder and forwarder.breaker.is_open else None

    def accepts(self, sink: str, message: StoredMessage) -> bool:
        """Whether such a callback is for a sink; one that is none of ours has had what it wanted."""
        forwarder = self._forwarders.get(sink)
        return forwarder is None or forwarder.accepts(message)

    async def close(self) -> None:
        """End within seconds; what is not delivered by then waits for the next start."""
        await asyncio.gather(*(forwarder.close() for forwarder in self._forwarders.values()))
        self._executor.shutdown()
