"""The `sinks` of the settings: a list, one mapping for each system that texts are forwarded to.

| key | for | |
|---|---|---|
| name | all | what metrics, the log and the API call it; what is still to be delivered belongs to this name |
| kind | all | http or kafka |
| messageKinds | all | which callbacks are forwarded: text (the default), sent, confirmation, fault, other |
| duplicates | all | forward (the default) or skip those that ThingSpace seems to have delivered twice |
| maxAttempts | all | tries before a text that the sink refuses, while it takes others, becomes a dead letter |
| timeoutSeconds | all | for one delivery |
| url, signingSecrets | http | the receiver, and one or (during a rotation) two secrets of Standard Webhooks |
| bootstrapServers, topic, producerProperties | kafka | the brokers, the topic, and more of librdkafka's properties |
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thingspace_provider.common.urls import InvalidUrl, parse_http_url
from thingspace_provider.listener.callback_parser import KINDS, TEXT
from thingspace_provider.listener.setting_types import InvalidValue, describe_type, parse_int, parse_text

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
TOPIC_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,249}")
SECRET_PREFIX = "whsec_"  # noqa: S105  what Standard Webhooks' secrets begin with
SECRET_BYTES = range(24, 65)
MAX_SECRETS = 2
MAX_ATTEMPTS = 1000
MAX_TIMEOUT_SECONDS = 300
# What the promise rests on; no property may weaken it.
RESERVED_PROPERTIES = {
    "acks": "is always all",
    "request.required.acks": "is always all",
    "enable.idempotence": "is always on",
    "bootstrap.servers": "is the key bootstrapServers",
    "metadata.broker.list": "is the key bootstrapServers",
    "message.timeout.ms": "is the key timeoutSeconds",
    "delivery.timeout.ms": "is the key timeoutSeconds",
    "partitioner": "keeps the texts of a device in one partition",
    "delivery.report.only.error": "leaves deliveries without a word",
    "transactional.id": "needs transactions, and there are none",
    "default.topic.config": "is no single property",
    "test.mock.num.brokers": "delivers to nobody",
}
TOPIC_PREFIX = "topic."  # librdkafka takes a topic's properties with and without it
INTERNAL_PROPERTY = re.compile(r"(?!log_level$).*_.*")  # callbacks, pointers and what librdkafka tests itself with


@dataclass(frozen=True, kw_only=True)
class SinkSettings:
    """What all sinks have."""

    name: str
    message_kinds: tuple[str, ...] = (TEXT,)
    skip_duplicates: bool = False
    max_attempts: int = 16
    timeout_seconds: float = 15


@dataclass(frozen=True, kw_only=True)
class HttpSettings(SinkSettings):
    """A receiver of webhooks. Its URL may hold a token, and so stays out of the repr, too."""

    url: str = field(repr=False)
    signing_secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class KafkaSettings(SinkSettings):
    """A topic."""

    bootstrap_servers: str
    topic: str
    producer_properties: Mapping[str, str | int | bool] = field(default_factory=dict, repr=False)


def parse_sinks(value: object) -> tuple[SinkSettings, ...]:
    """The sinks, from a list or its JSON. Raises Wrong, which says for each sink what to correct."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidValue("is not valid JSON") from None
    if not isinstance(value, list):
        raise InvalidValue(f"must be a list of sinks, not {describe_type(value)}")
    sinks, errors = [], []
    for number, entry in enumerate(value, 1):
        try:
            sinks.append(_parse_sink(entry))
        except InvalidValue as error:  # noqa: PERF203  each sink has its own
            errors.append(f"sink {number}: {error}")
    names = [sink.name for sink in sinks]
    errors += [f"two sinks are called {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
    if errors:
        raise InvalidValue("; ".join(errors))
    return tuple(sinks)


def _parse_sink(entry: object) -> SinkSettings:
    if not isinstance(entry, dict):
        raise InvalidValue(f"must be a mapping, not {describe_type(entry)}")
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in SINK_TYPES:
        raise InvalidValue(f"kind must be one of {', '.join(SINK_TYPES)}")
    settings_class, own_fields = SINK_TYPES[kind]
    known = COMMON_FIELDS | own_fields
    unknown = [str(key) for key in entry if key not in known and key != "kind"]
    if unknown:
        raise InvalidValue(f"{', '.join(unknown)}: not a setting of kind {kind}; known are kind, {', '.join(known)}")
    missing = [key for key in ("name", *own_fields) if key in REQUIRED_KEYS and entry.get(key) in (None, "", [])]
    if missing:
        raise InvalidValue(f"{' and '.join(missing)} must be given")
    values = {}
    for key, (field_name, parse) in known.items():
        if entry.get(key) is not None:
            try:
                values[field_name] = parse(entry[key])
            except InvalidValue as error:
                raise InvalidValue(f"{key} {error}") from None
    return settings_class(**values)


def _parse_name(value: object) -> str:
    if not NAME_PATTERN.fullmatch(parse_text(value)):
        raise InvalidValue("must be at most 50 small letters, digits, '-' and '_'")
    return parse_text(value)


def _parse_message_kinds(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(kind in KINDS for kind in value):
        raise InvalidValue(f"must be a list of {', '.join(KINDS)}")
    return tuple(dict.fromkeys(value))


def _parse_duplicates(value: object) -> bool:
    if value not in ("forward", "skip"):
        raise InvalidValue("must be forward or skip")
    return value == "skip"


def _parse_url(value: object) -> str:
    url = parse_text(value)
    try:
        parse_http_url(url, allow_query=True)
    except InvalidUrl as error:
        raise InvalidValue(f"must be an http(s) URL: {error}") from None
    return url


def _parse_secrets(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_SECRETS:
        raise InvalidValue("must be a list of one secret, or two during a rotation")
    return tuple(_parse_secret(secret) for secret in value)


def _parse_secret(value: object) -> str:
    secret = parse_text(value)
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise InvalidValue(
            "must be whsec_ and 24 to 64 bytes in base64, as "
            "`python -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'` prints"
        )
    return secret


def _parse_topic(value: object) -> str:
    if not TOPIC_PATTERN.fullmatch(parse_text(value)):
        raise InvalidValue("must be a topic's name: at most 249 letters, digits, '.', '-' and '_'")
    return parse_text(value)


def _parse_properties(value: object) -> dict[str, str | int | bool]:
    if not isinstance(value, dict) or not all(isinstance(entry, str | int | bool) for entry in value.values()):
        raise InvalidValue("must be a mapping of librdkafka's properties to text, numbers, true or false")
    for name in value:
        reason = RESERVED_PROPERTIES.get(parse_text(name).removeprefix(TOPIC_PREFIX))
        if INTERNAL_PROPERTY.fullmatch(name):
            reason = "is for programs"
        if reason:
            raise InvalidValue(f"must not have {name}, which {reason}")
    return {name: parse_text(entry) if isinstance(entry, str) else entry for name, entry in value.items()}


FieldParser = tuple[str, Callable[[object], Any]]
COMMON_FIELDS: dict[str, FieldParser] = {
    "name": ("name", _parse_name),
    "messageKinds": ("message_kinds", _parse_message_kinds),
    "duplicates": ("skip_duplicates", _parse_duplicates),
    "maxAttempts": ("max_attempts", lambda value: parse_int(value, 1, MAX_ATTEMPTS)),
    "timeoutSeconds": ("timeout_seconds", lambda value: parse_int(value, 1, MAX_TIMEOUT_SECONDS)),
}
HTTP_FIELDS: dict[str, FieldParser] = {
    "url": ("url", _parse_url),
    "signingSecrets": ("signing_secrets", _parse_secrets),
}
KAFKA_FIELDS: dict[str, FieldParser] = {
    "bootstrapServers": ("bootstrap_servers", parse_text),
    "topic": ("topic", _parse_topic),
    "producerProperties": ("producer_properties", _parse_properties),
}
SINK_TYPES: dict[str, tuple[Callable[..., SinkSettings], dict[str, FieldParser]]] = {
    "http": (HttpSettings, HTTP_FIELDS),
    "kafka": (KafkaSettings, KAFKA_FIELDS),
}
REQUIRED_KEYS = ("name", "url", "signingSecrets", "bootstrapServers", "topic")
