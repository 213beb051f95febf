"""Kafka sink with a real broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from tests.support.kafka_broker import MECHANISM, MISSING, PASSWORD, USER, KafkaBroker
from tests.support.listener_process import ListenerProcess
from tests.support.sample_messages import build_stored_message
from thingspace_provider.listener.forwarding.cloudevents import to_cloudevent
from thingspace_provider.listener.forwarding.settings import KafkaSettings
from thingspace_provider.listener.forwarding.sinks.base import InvalidSink, MessageRejected, SinkUnavailable
from thingspace_provider.listener.forwarding.sinks.kafka import KafkaSink
from thingspace_provider.listener.model import Device

pytestmark = pytest.mark.timeout(600)  # the first run downloads the broker with Maven
needs_kafka = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    running = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    yield running
    running.kill()


def build_settings(address: str, topic: str = "messages", *, seconds: float = 30, **properties: str) -> KafkaSettings:
    values = {
        "name": "stream",
        "kind": "kafka",
        "bootstrapServers": address,
        "topic": topic,
        "timeoutSeconds": seconds,
        "producerProperties": {name.replace("_", "."): value for name, value in properties.items()},
    }
    return KafkaSettings.model_validate(values)


async def deliver_messages(
    kafka_settings: KafkaSettings, *messages: str, device: str = "5551230001", report_margin_seconds: float = 5
) -> None:
    sink = KafkaSink(kafka_settings, report_margin_seconds)
    try:
        for number, message in enumerate(messages):
            await sink.deliver(
                to_cloudevent(build_stored_message(id=number, text=message, devices=(Device("mdn", device),)))
            )
    finally:
        await sink.close()


@needs_kafka
@pytest.mark.long
def test_each_message_is_a_cloudevent_in_order_with_its_device_as_the_key(broker: KafkaBroker) -> None:
    broker.create_topic("messages")

    async def work() -> None:
        await asyncio.gather(
            *(
                deliver_messages(build_settings(broker.address), *"abcde", device=f"555123000{number}")
                for number in range(4)
            )
        )

    asyncio.run(work())
    records = broker.read_records("messages")
    assert len(records) == 20
    by_key: dict[bytes, list[str]] = {}
    for record in records:
        key, value, headers = record.key(), record.value(), dict[str, Any](record.headers() or [])
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        assert headers == {"content-type": b"application/cloudevents+json"}
        event = from_kafka_event(KafkaMessage(headers, key, value))
        data = event.get_data()
        assert isinstance(data, dict)
        assert f"{event.get_subject()}".encode() == key
        by_key.setdefault(key, []).append(data["text"])
    assert by_key == {f"mdn:555123000{number}".encode(): list("abcde") for number in range(4)}


@needs_kafka
@pytest.mark.long
def test_a_record_that_is_too_large_is_rejected_and_a_missing_topic_is_unavailable(broker: KafkaBroker) -> None:
    broker.create_topic("small", **{"max.message.bytes": "200"})
    with pytest.raises(MessageRejected, match="MSG_SIZE_TOO_LARGE"):
        asyncio.run(deliver_messages(build_settings(broker.address, "small"), "x" * 500))
    with pytest.raises(SinkUnavailable, match="UNKNOWN_TOPIC"):
        asyncio.run(deliver_messages(build_settings(broker.address, "missing"), "a"))


def build_protected_settings(broker: KafkaBroker, topic: str, *, seconds: float = 30, **changes: str) -> KafkaSettings:
    """Build settings as in docs/forwarding.md, with the CA of the broker."""
    properties = {
        "security_protocol": "SASL_SSL",
        "ssl_ca_location": str(broker.authority),
        "sasl_mechanisms": MECHANISM,
        "sasl_username": USER,
        "sasl_password": PASSWORD,
    }
    return build_settings(broker.secure_address, topic, seconds=seconds, **{**properties, **changes})


@needs_kafka
@pytest.mark.long
def test_a_broker_behind_tls_and_a_password_accepts_messages(broker: KafkaBroker) -> None:
    broker.create_topic("protected")
    asyncio.run(deliver_messages(build_protected_settings(broker, "protected"), "a", "b"))
    assert [json.loads(record.value() or b"")["data"]["text"] for record in broker.read_records("protected")] == [
        "a",
        "b",
    ]


@needs_kafka
@pytest.mark.long
def test_a_failed_authentication_is_unavailable_and_reports_its_cause(broker: KafkaBroker, tmp_path: Path) -> None:
    broker.create_topic("guarded")
    broker.create_topic("open")
    asyncio.run(
        deliver_messages(build_protected_settings(broker, "open"), "a")
    )  # the first handshake of a broker takes some seconds
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other-ca.pem"))
    cases = {
        r"Authentication failed": {"sasl_password": "sentinel-wrong"},
        r"certificate verify failed": {"ssl_ca_location": str(tmp_path / "other-ca.pem")},
        r"_MSG_TIMED_OUT": {"security_protocol": "SASL_PLAINTEXT"},
    }
    for expected_error, change in cases.items():
        with pytest.raises(SinkUnavailable, match=expected_error) as failed:
            asyncio.run(deliver_messages(build_protected_settings(broker, "guarded", seconds=10, **change), "a"))
        assert "sentinel" not in str(failed.value)
        assert PASSWORD not in str(failed.value)
    assert broker.read_records("guarded") == []


def test_missing_brokers_are_unavailable_in_time_and_do_not_block_the_event_loop() -> None:
    async def work() -> int:
        ticks = 0
        attempt = asyncio.create_task(deliver_messages(build_settings("127.0.0.1:1", seconds=1), "a"))
        while not attempt.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(SinkUnavailable, match=r"_MSG_TIMED_OUT: 127\.0\.0\.1:1/bootstrap: .*refused"):
            await attempt
        return ticks

    before = {*threading.enumerate()}
    assert asyncio.run(work()) > 3
    assert {*threading.enumerate()} <= before


def test_the_wait_for_a_delivery_report_has_a_timeout() -> None:
    silent = {"delivery.report.only.error": True, "test.mock.num.brokers": 1}  # librdkafka's own broker
    settings = build_settings("127.0.0.1:1", seconds=60).model_copy(update={"producer_properties": silent})
    with pytest.raises(SinkUnavailable, match=r"no delivery report within 1 s"):
        asyncio.run(deliver_messages(settings, "a", report_margin_seconds=1 - 60))


def test_a_value_of_the_wrong_type_is_reported_without_the_value() -> None:
    wrong = build_settings("127.0.0.1:1").model_copy(update={"producer_properties": {"stats_cb": "hidden"}})
    with pytest.raises(InvalidSink, match="sink stream: producerProperties has a value of the wrong kind") as failed:
        asyncio.run(deliver_messages(wrong, "a"))
    assert "hidden" not in str(failed.value)


def test_a_property_that_librdkafka_rejects_is_named_without_its_value() -> None:
    with pytest.raises(InvalidSink, match=r'sink stream: .*"compression\.codec"') as unknown:
        asyncio.run(deliver_messages(build_settings("127.0.0.1:1", compression_codec="hidden"), "a"))
    assert "hidden" not in str(unknown.value)
    with pytest.raises(InvalidSink, match=r'sink stream: No such configuration property: "compresion"'):
        asyncio.run(deliver_messages(build_settings("127.0.0.1:1", compresion="hidden"), "a"))


def test_a_listener_whose_sink_cannot_be_used_does_not_start(start: Callable[..., ListenerProcess]) -> None:
    sink = {"name": "stream", "kind": "kafka", "bootstrapServers": "127.0.0.1:1", "topic": "messages"}
    with pytest.raises(AssertionError) as ended:
        start(sinks=[{**sink, "producerProperties": {"compresion": "hidden"}}])
    assert str(ended.value) == 'Error: sink stream: No such configuration property: "compresion"\n'


def test_without_the_extra_the_error_names_it() -> None:
    program = """
import sys
sys.modules["confluent_kafka"] = None
from thingspace_provider.listener.forwarding.sinks.base import InvalidSink
from thingspace_provider.listener.forwarding.sinks.kafka import import_client
from thingspace_provider.listener.forwarding.settings import KafkaSettings
try:
    import_client(KafkaSettings.model_construct(name="stream"))
except InvalidSink as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    expected = "sink stream is of kind kafka, which needs an extra: pip install -e '.[listener,kafka]' in a clone"
    assert result.stdout.strip() == expected
