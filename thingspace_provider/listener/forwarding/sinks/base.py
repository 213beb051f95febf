"""Where stored texts go: one small interface, and a module for each kind of system behind it."""

from __future__ import annotations

from typing import Protocol

from thingspace_provider.listener.forwarding.cloudevents import CloudEvent


class DeliveryError(Exception):
    """The sink did not take it now; the text says why, without any secret. Later may be better.

    Args:
        reason: what happened, as a person will read it.
        after: seconds that the sink asked to be left alone.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SinkUnavailable(DeliveryError):
    """The sink itself cannot be reached or takes nothing now, whatever the event."""


class MessageRejected(Exception):
    """The sink works and will never take this event; the text says why, without any secret."""


class InvalidSink(Exception):
    """A sink cannot be opened with its settings; the text says what to do."""


class Sink(Protocol):
    """Takes one event at a time, many at once. Made and used in an event loop."""

    async def deliver(self, event: CloudEvent) -> None:
        """Return when the sink answers for it. Raises Undelivered or Unacceptable."""

    async def close(self) -> None:
        """Let go of connections, within seconds."""
