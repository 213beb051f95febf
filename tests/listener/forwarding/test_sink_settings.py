"""Settings of the sinks: one error for each invalid setting, and none shows a secret."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.listener_process import build_settings
from thingspace_provider.listener.forwarding.settings import HttpSettings, KafkaSettings
from thingspace_provider.listener.setting_types import InvalidSettings
from thingspace_provider.listener.settings.listener_settings import ListenerSettings, load_settings

SECRET = f"whsec_{base64.b64encode(os.urandom(32)).decode()}"
HTTP = {"name": "hub", "kind": "http", "url": "https://hub.example.com/sms?token=hidden", "signingSecrets": [SECRET]}
KAFKA = {"name": "stream", "kind": "kafka", "bootstrapServers": "kafka-1:9092,kafka-2:9092", "topic": "device-messages"}


def load_sinks(tmp_path: Path, sinks: object, **environment: str) -> ListenerSettings:
    file = tmp_path / "settings.json"
    file.write_text(yaml.safe_dump(build_settings(tmp_path, sinks=sinks)))
    return load_settings(file, environment, {})


def test_sinks_come_from_the_file_or_as_json_from_the_environment_which_wins(tmp_path: Path) -> None:
    assert load_sinks(tmp_path, None).sinks == ()
    assert load_sinks(tmp_path, []).sinks == ()
    hub, stream = HttpSettings.model_validate(HTTP), KafkaSettings.model_validate(KAFKA)
    assert load_sinks(tmp_path, [HTTP]).sinks == (hub,)
    assert load_sinks(tmp_path, [HTTP], THINGSPACE_LISTENER_SINKS=json.dumps([HTTP, KAFKA])).sinks == (hub, stream)


def test_every_key_is_loaded(tmp_path: Path) -> None:
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
        assert (sink.message_kinds, sink.duplicates) == (("text", "fault"), "skip")
        assert (sink.max_attempts, sink.timeout_seconds) == (3, 2)
    assert isinstance(stream, KafkaSettings)
    assert stream.producer_properties == properties


def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    representation = repr(load_sinks(tmp_path, [HTTP, KAFKA | {"producerProperties": {"sasl.password": "hidden"}}]))
    assert "device-messages" in representation
    assert SECRET not in representation
    assert "hidden" not in representation


@pytest.mark.parametrize(
    ("sink", "expected"),
    [
        ("hub", ": must be a mapping, not text"),
        ({}, ": kind must be one of http, kafka"),
        (HTTP | {"kind": "hidden"}, ": kind must be one of http, kafka"),
        (HTTP | {"topic": "x"}, ".topic is not a setting: known are duplicates, kind, maxAttempts, messageKinds"),
        (HTTP | {"signingSecret": "x"}, ".signingSecret is not a setting: did you mean signingSecrets?"),
        (HTTP | {True: "x"}, ".True is not a setting: "),
        (HTTP | {"url": None}, ".url: must be set"),
        (HTTP | {"signingSecrets": []}, ".signingSecrets: must be set"),
        (KAFKA | {"topic": ""}, ".topic: must be set"),
        (HTTP | {"name": "My Hub"}, ".name: must be at most 50 small letters"),
        (HTTP | {"url": "ftp://hidden/"}, ".url: it must begin with http:// or https:// and a host name"),
        (HTTP | {"url": "https://user:hidden@host/"}, ".url: it must not hold a user name or a password"),
        (
            HTTP | {"url": "https://h\u00fcb.example/hidden"},
            ".url: must be percent-encoded, and its host name in Punycode",
        ),
        (HTTP | {"signingSecrets": "hidden"}, ".signingSecrets: must be a list, not text"),
        (HTTP | {"signingSecrets": [SECRET] * 3}, ".signingSecrets: must have at most 2 items"),
        (HTTP | {"signingSecrets": [SECRET, "whsec_hidden"]}, ".signingSecrets[1]: must be whsec_ and 24 to 64 bytes"),
        (HTTP | {"signingSecrets": [SECRET.removeprefix("whsec_")]}, ".signingSecrets[0]: must be whsec_ and 24 to 64"),
        (
            HTTP | {"messageKinds": ["message"]},
            ".messageKinds[0]: must be one of text, sent, confirmation, fault, other",
        ),
        (HTTP | {"duplicates": True}, ".duplicates: must be one of forward, skip"),
        (HTTP | {"maxAttempts": 0}, ".maxAttempts: must be a whole number from 1 to 1000"),
        (HTTP | {"timeoutSeconds": "9"}, ".timeoutSeconds: must be a number from 0.1 to 300"),
        (KAFKA | {"topic": "a topic"}, ".topic: must be the name of a topic"),
        (KAFKA | {"producerProperties": {"acks": "1"}}, ".producerProperties: must not have acks, which is always all"),
        (KAFKA | {"producerProperties": {"partitioner": "random"}}, ".producerProperties: must not have partitioner"),
        (KAFKA | {"producerProperties": {"topic.acks": "1"}}, ".producerProperties: must not have topic.acks, which"),
        (
            KAFKA | {"producerProperties": {"delivery.report.only.error": True}},
            ".producerProperties: must not have del",
        ),
        (KAFKA | {"producerProperties": {"transactional.id": "x"}}, ".producerProperties: must not have transactional"),
        (KAFKA | {"producerProperties": {"test.mock.num.brokers": 1}}, ".producerProperties: must not have test.mock"),
        (KAFKA | {"producerProperties": {"stats_cb": "hidden"}}, ".producerProperties: must not have stats_cb, which"),
        (KAFKA | {"producerProperties": {"on_delivery": "hidden"}}, ".producerProperties: must not have on_delivery"),
        (KAFKA | {"producerProperties": {"client.id": "hidden\0"}}, ".producerProperties: must be UTF-8 text without"),
        (KAFKA | {"producerProperties": {"ssl": {"ca": "hidden"}}}, ".producerProperties: must be a mapping of librd"),
    ],
)
def test_an_invalid_setting_is_named_without_its_value(tmp_path: Path, sink: Any, expected: str) -> None:
    with pytest.raises(InvalidSettings) as invalid:
        load_sinks(tmp_path, [sink])
    (error,) = invalid.value.errors
    key, _, detail = expected.partition(" " if " is not" in expected else ":")
    separator = " " if " is not" in expected else ": "
    assert error.startswith(f"sinks[0]{key} (settings file {tmp_path / 'settings.json'}){separator}{detail.strip()}")
    assert "hidden" not in error


def test_the_error_of_a_sink_has_an_example(tmp_path: Path) -> None:
    for change, example in (({"url": "x"}, '[{"name": "hub"'), ({"signingSecrets": ["x"]}, "what `python -c 'import")):
        with pytest.raises(InvalidSettings, match=re.escape(f". Example: {example}")):
            load_sinks(tmp_path, [HTTP | change])


def test_errors_of_all_sinks_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as invalid:
        load_sinks(tmp_path, [HTTP | {"name": "?", "maxAttempts": 0}, HTTP, HTTP | {"url": "x"}])
    assert [error.split()[0] for error in invalid.value.errors] == [
        "sinks[0].name",
        "sinks[0].maxAttempts",
        "sinks[2].url",
    ]


def test_two_sinks_with_one_name_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"^sinks \(settings file .*\): two sinks have the name hub\. Example"):
        load_sinks(tmp_path, [HTTP, KAFKA | {"name": "hub"}, KAFKA])


@pytest.mark.parametrize("value", ["[", '"hub"', "7", "{}"])
def test_json_in_the_environment_must_be_a_list(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        InvalidSettings, match=r"sinks \(environment variable THINGSPACE_LISTENER_SINKS\): must be a list, not"
    ):
        load_sinks(tmp_path, None, THINGSPACE_LISTENER_SINKS=value)
