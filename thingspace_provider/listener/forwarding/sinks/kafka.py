"""Kafka sink: each event is one record in CloudEvents' structured mode; its key is the device.

The producer is idempotent and waits for all in-sync replicas. The records of one key are in one partition, and the
next record of a device is sent only after the acknowledgement of the previous one: consumers read them in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import re
import threading
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any

from thingspace_provider.listener.forwarding.cloudevents import CONTENT_TYPE, CloudEvent
from thingspace_provider.listener.forwarding.settings import KafkaSettings
from thingspace_provider.listener.forwarding.sinks.base import (
    DeliveryError,
    InvalidSink,
    MessageRejected,
    SinkUnavailable,
)

POLL_TIMEOUT_SECONDS = 0.5
FLUSH_TIMEOUT_SECONDS = 2.0
HEADERS = [("content-type", CONTENT_TYPE.encode())]
SILENT_LOGGER = logging.getLogger("thingspace.listener.kafka")  # the errors have librdkafka's last log line
SILENT_LOGGER.disabled = True


class KafkaSink:
    """Produces to one topic. A thread receives the delivery reports, so that the event loop never waits.

    librdkafka reports a timeout itself, up to one second late; `report_margin_seconds` is its time for that.
    """

    def __init__(self, settings: KafkaSettings, report_margin_seconds: float = 5.0) -> None:
        self._settings = settings
        self._report_timeout_seconds = settings.timeout_seconds + report_margin_seconds
        self._kafka = import_client(settings)
        self._last_broker_error = ""
        self._producer = self._create_producer()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"kafka-{settings.name}", daemon=True)
        self._thread.start()

    async def deliver(self, event: CloudEvent) -> None:
        """Produce the record and wait for its delivery report. Raises SinkUnavailable or MessageRejected."""
        report: Future[Any] = Future()
        try:
            self._producer.produce(
                self._settings.topic,
                value=event.body,
                key=event.partition_key.encode(),
                headers=[*HEADERS, *((name, value.encode()) for name, value in event.headers)],
                on_delivery=partial(_resolve, report),
            )
        except BufferError:
            raise SinkUnavailable("the queue of the producer is full") from None
        except self._kafka.KafkaException as error:
            raise self._to_delivery_error(error.args[0]) from None
        try:
            delivery_error = await asyncio.wait_for(asyncio.wrap_future(report), self._report_timeout_seconds)
        except asyncio.TimeoutError:
            raise SinkUnavailable(f"no delivery report within {self._report_timeout_seconds:g} s") from None
        if delivery_error is not None:
            raise self._to_delivery_error(delivery_error)
        self._last_broker_error = ""

    async def close(self) -> None:
        """Wait a moment for records in flight, then disconnect."""
        await asyncio.to_thread(self._close)

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
        """Return a new producer. Raises InvalidSink."""
        self._broken = False
        settings = self._settings
        properties = {
            "client.id": "thingspace-listener",
            "reconnect.backoff.max.ms": 2000,
            "topic.metadata.propagation.max.ms": 1000,  # then a missing topic is reported as such
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
            raise InvalidSink(f"sink {settings.name}: {_without_values(error.args[0].str())}") from None
        except (TypeError, ValueError, AttributeError):  # the binding cannot convert a value
            raise InvalidSink(f"sink {settings.name}: producerProperties has a value of the wrong kind") from None

    def _on_error(self, error: Any) -> None:
        """Remember the error of a broker. That all brokers are down adds nothing to it."""
        if error.code() != self._kafka.KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  a code of librdkafka
            self._last_broker_error = error.str()

    def _to_delivery_error(self, error: Any) -> DeliveryError | MessageRejected:
        codes = self._kafka.KafkaError
        if error.code() in (codes.MSG_SIZE_TOO_LARGE, codes.INVALID_RECORD):
            return MessageRejected(f"the broker responded with {error.name()}")
        self._broken = self._broken or error.fatal()
        return SinkUnavailable(f"{error.name()}: {self._last_broker_error or error.str()}")


def import_client(settings: KafkaSettings) -> Any:
    """Return the module confluent_kafka. Raises InvalidSink without it."""
    try:
        return importlib.import_module("confluent_kafka")
    except ImportError:
        raise InvalidSink(
            f"sink {settings.name} is of kind kafka, which needs an extra: "
            "pip install -e '.[listener,kafka]' in a clone"
        ) from None


def _without_values(message: str) -> str:
    """Return librdkafka's error for a property without the value, which can be a secret in the wrong property."""
    return re.sub(r'[Vv]alue "[^"]*"', "value", message)


def _resolve(report: Future[Any], error: Any, _record: object) -> None:
    """Receive a delivery report in the polling thread."""
    with contextlib.suppress(InvalidStateError):  # cancelled after its timeout
        report.set_result(error)
