"""From the settings of a sink to the sink."""

from __future__ import annotations

from thingspace_provider.listener.sinks import Sink
from thingspace_provider.listener.sinks.http import HttpSink
from thingspace_provider.listener.sinks.kafka import KafkaSink
from thingspace_provider.listener.sinks.settings import HttpSettings, KafkaSettings, SinkSettings


def opened(settings: SinkSettings) -> Sink:
    """The sink, within an event loop; nothing is sent yet. Raises SinkUnusable."""
    if isinstance(settings, HttpSettings):
        return HttpSink(settings)
    if isinstance(settings, KafkaSettings):
        return KafkaSink(settings)
    raise TypeError(type(settings))


async def tried(every: tuple[SinkSettings, ...]) -> None:
    """Open and close each. Raises SinkUnusable."""
    for settings in every:
        await opened(settings).close()
