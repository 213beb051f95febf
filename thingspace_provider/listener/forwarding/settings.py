"""Settings of the sinks."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainValidator

from thingspace_provider.common.urls import parse_http_url
from thingspace_provider.listener.setting_types import (
    InvalidValue,
    Secret,
    Setting,
    SettingsModel,
    Text,
    check_encodable,
    matches,
    parse_json,
)

SECRET_PREFIX = "whsec_"  # noqa: S105  of every secret of Standard Webhooks
SECRET_LENGTHS = range(24, 65)  # bytes
# The guarantees rely on these properties.
RESERVED_PROPERTIES = {
    "acks": "is always all",
    "request.required.acks": "is always all",
    "enable.idempotence": "is always on",
    "bootstrap.servers": "is the key bootstrapServers",
    "metadata.broker.list": "is the key bootstrapServers",
    "message.timeout.ms": "is the key timeoutSeconds",
    "delivery.timeout.ms": "is the key timeoutSeconds",
    "partitioner": "keeps the messages of a device in one partition",
    "delivery.report.only.error": "suppresses the reports of deliveries",
    "transactional.id": "needs transactions, which this producer does not use",
    "default.topic.config": "is not a single property",
    "test.mock.num.brokers": "discards messages",
}
TOPIC_PREFIX = "topic."  # librdkafka accepts the properties of a topic with and without it
INTERNAL_PROPERTY = re.compile(r"(?!log_level$).*_.*")  # callbacks, pointers and test hooks of librdkafka


def _check_url(url: str) -> str:
    parse_http_url(url, allow_query=True)
    if not url.isascii():  # the sink sends it byte for byte
        raise InvalidValue("must be percent-encoded, and its host name in Punycode")
    return url


def _check_secret(secret: str) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_LENGTHS:
        raise InvalidValue("must be whsec_ and 24 to 64 bytes in base64")
    return secret


def _parse_properties(value: object) -> dict[str, str | int | bool]:
    if not isinstance(value, dict) or not all(isinstance(entry, str | int | bool) for entry in value.values()):
        raise InvalidValue("must be a mapping of librdkafka's properties to text, numbers, true or false")
    for name, entry in value.items():
        check_encodable(f"{name}{entry}")
        reason = RESERVED_PROPERTIES.get(str(name).removeprefix(TOPIC_PREFIX))
        if INTERNAL_PROPERTY.fullmatch(str(name)):
            reason = "is internal"
        if reason:
            raise InvalidValue(f"must not have {name}, which {reason}")
    return {str(name): entry for name, entry in value.items()}


class SinkSettings(SettingsModel):
    """Settings of every sink. The outbox entries of a sink belong to its name."""

    name: Annotated[Text, matches(r"[a-z0-9][a-z0-9_-]{0,49}", "must be at most 50 small letters, digits, '-' and '_'")]
    message_kinds: Annotated[
        tuple[Literal["text", "sent", "confirmation", "fault", "other"], ...], Field(strict=False)
    ] = ("text",)
    duplicates: Literal["forward", "skip"] = "forward"
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 16
    timeout_seconds: Annotated[float, Field(ge=0.1, le=300)] = 15.0


class HttpSettings(SinkSettings):
    """Settings of an HTTP sink. Its URL can hold a token."""

    kind: Literal["http"]
    url: Annotated[Secret, AfterValidator(_check_url)]
    signing_secrets: Annotated[
        tuple[Annotated[Text, AfterValidator(_check_secret)], ...],
        Field(strict=False, repr=False, max_length=2),
        Setting(
            "what `python -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'` prints"
        ),
    ]


class KafkaSettings(SinkSettings):
    """Settings of a Kafka sink."""

    kind: Literal["kafka"]
    bootstrap_servers: Text
    topic: Annotated[
        Text,
        matches(r"[A-Za-z0-9._-]{1,249}", "must be the name of a topic: at most 249 letters, digits, '.', '-', '_'"),
    ]
    producer_properties: Annotated[
        dict[str, str | int | bool], PlainValidator(_parse_properties), Field(repr=False)
    ] = {}  # noqa: RUF012  pydantic copies it


def _check_names(sinks: tuple[SinkSettings, ...]) -> tuple[SinkSettings, ...]:
    names = [sink.name for sink in sinks]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise InvalidValue(f"two sinks have the name {', '.join(repeated)}")
    return sinks


class ForwardingSettings(SettingsModel):
    """The sinks. Without any, messages are only read."""

    sinks: Annotated[
        tuple[Annotated[HttpSettings | KafkaSettings, Field(discriminator="kind")], ...],
        Field(strict=False),
        AfterValidator(_check_names),
        Setting(
            '[{"name": "hub", "kind": "http", "url": "https://hub.example.com/sms", "signingSecrets": ["whsec_…"]}]',
            parse_json,
        ),
    ] = ()
