"""From the settings of a sink to the sink. Its libraries are imported only when there is one."""

from __future__ import annotations

from thingspace_provider.listener.forwarding.settings import HttpSettings, KafkaSettings, SinkSettings
from thingspace_provider.listener.forwarding.sinks.base import Sink


def create_sink(settings: SinkSettings) -> Sink:
    """The sink, within an event loop; nothing is sent yet. Raises SinkUnusable."""
    if isinstance(settings, HttpSettings):
        from thingspace_provider.listener.forwarding.sinks.http import HttpSink  # noqa: PLC0415  a start without sinks is faster

        return HttpSink(settings)
    if isinstance(settings, KafkaSettings):
        from thingspace_provider.listener.forwarding.sinks.kafka import KafkaSink  # noqa: PLC0415

        return KafkaSink(settings)
    raise TypeError(type(settings))


async def validate_sinks(sink_settings: tuple[SinkSettings, ...]) -> None:
    """Open and close each. Raises SinkUnusable."""
    for settings in sink_settings:
        await create_sink(settings).close()
