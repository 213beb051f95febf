"""A Kafka topic: each event is one record in CloudEvents' structured mode, keyed by its device.

The producer is idempotent and waits for all replicas in sync; `deliver` returns with the broker's word. Records of
one key go to one partition, and the next of a device is only sent when the one before is acknowledged: so a consumer
reads a device's texts in order. It needs the extra `kafka`, which is imported when such a sink is configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
import re
import threading
from typing import Any

from thingspace_provider.listener.forwarding.cloudevents import CONTENT_TYPE, CloudEvent
from thingspace_provider.listener.forwarding.settings import KafkaSettings
from thingspace_provider.listener.forwarding.sinks.base import (
    DeliveryError,
    InvalidSink,
    MessageRejected,
    SinkUnavailable,
)

POLL_TIMEOUT_SECONDS = 0.5  # how long the thread waits at most until it sees that it is to end
REPORT_MARGIN_SECONDS = 5.0  # librdkafka reports a failure by itself; it looks for time-outs once a second
FLUSH_TIMEOUT_SECONDS = 2.0
HEADERS = [("content-type", CONTENT_TYPE.encode())]
SILENT_LOGGER = logging.getLogger(
    "thingspace.listener.kafka"
)  # librdkafka repeats itself; its last word is in our reasons
SILENT_LOGGER.disabled = True


class KafkaSink:
    """Produces to one topic. One thread of its own serves the delivery reports; the event loop never waits."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._kafka = import_client(settings)
        self._last_broker_error = ""
        self._producer = self._create_producer()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"kafka-{settings.name}", daemon=True)
        self._thread.start()

    async def deliver(self, event: CloudEvent) -> None:
        """Produce it and wait for the broker's word. Raises Undelivered or Unacceptable."""
        report: asyncio.Future[Any] = self._loop.create_future()
        try:
            self._producer.produce(
                self._settings.topic,
                value=event.body,
                key=event.partition_key.encode(),
                headers=HEADERS,
                on_delivery=functools.partial(self._on_delivery, report),
            )
        except BufferError:
            raise SinkUnavailable("too much waits for the brokers already") from None
        except self._kafka.KafkaException as error:
            raise self._to_delivery_error(error.args[0]) from None
        timeout_seconds = self._settings.timeout_seconds + REPORT_MARGIN_SECONDS
        try:
            delivery_error = await asyncio.wait_for(report, timeout_seconds)
        except asyncio.TimeoutError:
            raise SinkUnavailable(f"no delivery report within {timeout_seconds:g} s") from None
        if delivery_error is not None:
            raise self._to_delivery_error(delivery_error)
        self._last_broker_error = ""

    async def close(self) -> None:
        """Give what is under way a moment, then let go of the brokers."""
        await self._loop.run_in_executor(None, self._close)

    def _close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(FLUSH_TIMEOUT_SECONDS)
        self._producer.purge()
        self._producer.flush(0)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_TIMEOUT_SECONDS)
            if self._broken:
                self._producer.purge()
                self._producer.flush(0)
                self._producer = self._create_producer()

    def _create_producer(self) -> Any:
        """A new producer. Raises SinkUnusable."""
        self._broken = False
        settings = self._settings
        properties = {
            "client.id": "thingspace-listener",
            "reconnect.backoff.max.ms": 2000,
            "topic.metadata.propagation.max.ms": 1000,  # after which a missing topic is called by its name
            **settings.producer_properties,
            "bootstrap.servers": settings.bootstrap_servers,
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": int(settings.timeout_seconds * 1000),
            "error_cb": self._on_error,
        }
        try:
            return self._kafka.Producer(properties, logger=SILENT_LOGGER)
        except self._kafka.KafkaException as error:
            raise InvalidSink(f"sink {settings.name}: {_redact_values(error.args[0].str())}") from None
        except (TypeError, ValueError, AttributeError):  # what its binding says of a value that it cannot convert
            raise InvalidSink(f"sink {settings.name}: producerProperties has a value of the wrong kind") from None

    def _on_error(self, error: Any) -> None:
        """What ails the brokers; that all of them are down is known from it already."""
        if error.code() != self._kafka.KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  librdkafka's own codes begin so
            self._last_broker_error = error.str()

    def _on_delivery(self, report: asyncio.Future[Any], error: Any, message: object) -> None:
        """The broker's word, in the thread that serves."""
        del message
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(_resolve, report, error)

    def _to_delivery_error(self, error: Any) -> DeliveryError | MessageRejected:
        codes = self._kafka.KafkaError
        if error.code() in (codes.MSG_SIZE_TOO_LARGE, codes.INVALID_RECORD):
            return MessageRejected(f"the broker answered {error.name()}")
        self._broken = self._broken or error.fatal()
        return SinkUnavailable(f"{error.name()}: {self._last_broker_error or error.str()}")


def import_client(settings: KafkaSettings) -> Any:
    """The module confluent_kafka. Raises SinkUnusable without it."""
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise InvalidSink(
            f"sink {settings.name} is of kind kafka, which needs an extra: "
            "pip install -e '.[listener,kafka]' in a clone"
        ) from None


def _redact_values(message: str) -> str:
    """What librdkafka says of a configuration, without the value: it may be a secret in the wrong place."""
    return re.sub(r'[Vv]alue "[^"]*"', "value", message)


def _resolve(report: asyncio.Future[Any], error: Any) -> None:
    if not report.done():
        report.set_result(error)
