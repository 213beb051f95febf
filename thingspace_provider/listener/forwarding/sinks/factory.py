"""Creates sinks. The library of a sink is imported on first use, so that a start without this sink stays fast."""

from __future__ import annotations

from thingspace_provider.listener.forwarding.settings import HttpSettings, KafkaSettings, SinkSettings
from thingspace_provider.listener.forwarding.sinks.base import Sink


def create_sink(settings: SinkSettings) -> Sink:
    """Return the sink, in an event loop. Sends nothing. Raises InvalidSink."""
    if isinstance(settings, HttpSettings):
        from thingspace_provider.listener.forwarding.sinks.http import HttpSink  # noqa: PLC0415

        return HttpSink(settings)
    if isinstance(settings, KafkaSettings):
        from thingspace_provider.listener.forwarding.sinks.kafka import KafkaSink  # noqa: PLC0415

        return KafkaSink(settings)
    raise TypeError(type(settings))


async def validate_sinks(sink_settings: tuple[SinkSettings, ...]) -> None:
    """Create and close each sink. Raises InvalidSink."""
    for settings in sink_settings:
        await create_sink(settings).close()
