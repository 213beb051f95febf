"""The `sinks` of the settings: what is wrong is said for each sink, and no secret is ever shown."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener_process import build_settings
from thingspace_provider.listener.forwarding.sinks.settings import HttpSettings, KafkaSettings
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings, load_settings

SECRET = f"whsec_{base64.b64encode(os.urandom(32)).decode()}"
HTTP = {"name": "hub", "kind": "http", "url": "https://hub.example.com/sms?token=hidden", "signingSecrets": [SECRET]}
KAFKA = {"name": "stream", "kind": "kafka", "bootstrapServers": "kafka-1:9092,kafka-2:9092", "topic": "device-texts"}


def load_sinks(tmp_path: Path, sinks: object, **environment: str) -> ListenerSettings:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(build_settings(tmp_path, sinks=sinks)))
    return load_settings(file, environment, {})


def test_sinks_come_from_the_file_or_as_json_from_the_environment_which_wins(tmp_path: Path) -> None:
    assert load_sinks(tmp_path, None).sinks == ()
    assert load_sinks(tmp_path, []).sinks == ()
    hub = HttpSettings(name="hub", url=str(HTTP["url"]), signing_secrets=(SECRET,))
    stream = KafkaSettings(name="stream", bootstrap_servers="kafka-1:9092,kafka-2:9092", topic="device-texts")
    assert load_sinks(tmp_path, [HTTP]).sinks == (hub,)
    assert load_sinks(tmp_path, [HTTP], THINGSPACE_LISTENER_SINKS=json.dumps([HTTP, KAFKA])).sinks == (hub, stream)


def test_every_key_is_taken_over(tmp_path: Path) -> None:
    more = {"messageKinds": ["text", "fault"], "duplicates": "skip", "maxAttempts": 3, "timeoutSeconds": 2}
    properties = {
        "security.protocol": "SASL_SSL",
        "sasl.password": "hidden",
        "linger.ms": 5,
        "debug": False,
        "log_level": 3,
    }
    hub, stream = load_sinks(tmp_path, [HTTP | more, KAFKA | more | {"producerProperties": properties}]).sinks
    for sink in (hub, stream):
        assert (sink.message_kinds, sink.skip_duplicates) == (("text", "fault"), True)
        assert (sink.max_attempts, sink.timeout_seconds) == (3, 2)
    assert isinstance(stream, KafkaSettings)
    assert stream.producer_properties == properties


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    representation = repr(load_sinks(tmp_path, [HTTP, KAFKA | {"producerProperties": {"sasl.password": "hidden"}}]))
    assert "device-texts" in representation
    assert SECRET not in representation
    assert "hidden" not in representation


@pytest.mark.parametrize(
    ("sink", "expected"),
    [
        ("hub", "sink 1: must be a mapping, not text"),
        ({}, "sink 1: kind must be one of http, kafka"),
        (HTTP | {"kind": "amqp"}, "sink 1: kind must be one of http, kafka"),
        (HTTP | {"topic": "x"}, "sink 1: topic: not a setting of kind http; known are kind, name, messageKinds"),
        (HTTP | {"url": None, "signingSecrets": []}, "sink 1: url and signingSecrets must be given"),
        (KAFKA | {"topic": ""}, "sink 1: topic must be given"),
        (HTTP | {"name": "My Hub"}, "sink 1: name must be at most 50 small letters"),
        (HTTP | {"url": "ftp://hidden/"}, "sink 1: url must be an http(s) URL: "),
        (HTTP | {"url": "https://user:hidden@host/"}, "sink 1: url must be an http(s) URL: "),
        (HTTP | {"signingSecrets": "hidden"}, "sink 1: signingSecrets must be a list of one secret, or two"),
        (
            HTTP | {"signingSecrets": ["whsec_hidden"]},
            "sink 1: signingSecrets must be whsec_ and 24 to 64 bytes in base64",
        ),
        (
            HTTP | {"signingSecrets": [SECRET.removeprefix("whsec_")]},
            "sink 1: signingSecrets must be whsec_ and 24 to 64 bytes",
        ),
        (
            HTTP | {"messageKinds": ["texts"]},
            "sink 1: messageKinds must be a list of text, sent, confirmation, fault, other",
        ),
        (HTTP | {"duplicates": True}, "sink 1: duplicates must be forward or skip"),
        (HTTP | {"maxAttempts": 0}, "sink 1: maxAttempts must be a number from 1 to 1000"),
        (HTTP | {"timeoutSeconds": "9"}, "sink 1: timeoutSeconds must be a number from 1 to 300"),
        (KAFKA | {"topic": "a topic"}, "sink 1: topic must be a topic's name"),
        (
            KAFKA | {"producerProperties": {"acks": "1"}},
            "sink 1: producerProperties must not have acks, which is always all",
        ),
        (
            KAFKA | {"producerProperties": {"partitioner": "random"}},
            "sink 1: producerProperties must not have partitioner, which keeps",
        ),
        (
            KAFKA | {"producerProperties": {"topic.acks": "1"}},
            "sink 1: producerProperties must not have topic.acks, which is always",
        ),
        (
            KAFKA | {"producerProperties": {"delivery.report.only.error": True}},
            "sink 1: producerProperties must not have delivery.rep",
        ),
        (
            KAFKA | {"producerProperties": {"transactional.id": "x"}},
            "sink 1: producerProperties must not have transactional.id, which",
        ),
        (
            KAFKA | {"producerProperties": {"test.mock.num.brokers": 1}},
            "sink 1: producerProperties must not have test.mock.num.broker",
        ),
        (
            KAFKA | {"producerProperties": {"stats_cb": "hidden"}},
            "sink 1: producerProperties must not have stats_cb, which is for",
        ),
        (
            KAFKA | {"producerProperties": {"on_delivery": "hidden"}},
            "sink 1: producerProperties must not have on_delivery, which is",
        ),
        (
            KAFKA | {"producerProperties": {"client.id": "hidden\0"}},
            "sink 1: producerProperties must be UTF-8 text without NUL",
        ),
        (
            KAFKA | {"producerProperties": {"ssl": {"ca": "hidden"}}},
            "sink 1: producerProperties must be a mapping of librdkafka's",
        ),
    ],
)
def test_an_invalid_setting_is_named_without_its_value(tmp_path: Path, sink: Any, expected: str) -> None:
    with pytest.raises(InvalidSettings) as bad:
        load_sinks(tmp_path, [sink])
    (error,) = bad.value.errors
    assert error.startswith(f"sinks (settings file {tmp_path / 'settings.json'}): {expected}")
    assert 'Example: [{"name": "hub"' in error
    assert "hidden" not in error


def test_several_wrong_sinks_are_all_named_and_two_of_one_name_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidSettings, match=r"sink 1: name must be .*; sink 3: url must be .*; two sinks are called"
    ) as bad:
        load_sinks(tmp_path, [HTTP | {"name": "?"}, HTTP, HTTP | {"url": "x"}, KAFKA | {"name": "hub"}])
    assert len(bad.value.errors) == 1


@pytest.mark.parametrize("value", ["[", '"hub"', "7", "{}"])
def test_json_in_the_environment_must_be_a_list(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        InvalidSettings, match=r"sinks \(environment variable THINGSPACE_LISTENER_SINKS\): (is not|must)"
    ):
        load_sinks(tmp_path, None, THINGSPACE_LISTENER_SINKS=value)
