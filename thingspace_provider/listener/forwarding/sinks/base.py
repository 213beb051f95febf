"""Interface of a sink, and its errors. No error holds a secret."""

from __future__ import annotations

from typing import Protocol

from thingspace_provider.listener.forwarding.cloudevents import CloudEvent


class DeliveryError(Exception):
    """The delivery failed and can succeed later. `retry_after_seconds` is the wait that the sink requests."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SinkUnavailable(DeliveryError):
    """The sink is unreachable or accepts no event now, whatever the event."""


class MessageRejected(Exception):
    """The sink works and rejects this event permanently."""


class InvalidSink(Exception):
    """The sink cannot be created from its settings."""


class Sink(Protocol):
    """Delivers events, several at the same time. Create and use it in an event loop."""

    async def deliver(self, event: CloudEvent) -> None:
        """Return when the sink has acknowledged the event. Raises DeliveryError or MessageRejected."""

    async def close(self) -> None:
        """Close the connections within seconds."""
