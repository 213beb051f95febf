"""Schema of a stack file: the keys in the namespace `thingspace`, their types and examples, and their validation.

This module does not import Pulumi. `stack_settings` validates the values of the engine and `thingspace lint` those of
the file, with the same result.
"""

from __future__ import annotations

import contextlib
import json
import reprlib
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.common.suggestions import did_you_mean
from thingspace_provider.config import pulumi_yaml
from thingspace_provider.config.credentials import CREDENTIAL_SETTINGS
from thingspace_provider.config.limits import LIMITS
from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.model import UNKNOWN, Unknown

NAMESPACE = "thingspace"


@dataclass(frozen=True)
class ValueType:
    """Python types of a value, and their description."""

    description: str
    types: tuple[type, ...]

    def accepts(self, value: object) -> bool:
        """Return whether the value has one of the types. A bool is not an int here."""
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))


TEXT = ValueType("text", (str,))
BOOLEAN = ValueType("true or false", (bool,))
NUMBER = ValueType("a number", (int, float))
NUMBER_OR_WORD = ValueType("a number or a word", (int, str))
LIST = ValueType("a list", (list,))
MAP = ValueType("a map", (dict,))
TEXT_OR_MAP = ValueType("text or a map", (str, dict))


@dataclass(frozen=True)
class StackKey:
    """A key of the stack file.

    Args:
        value_type: the type of its value.
        example: a valid value in YAML, or "".
        instruction: what to set if it is missing, or "" for an optional key.
        is_secret: whether its value must be encrypted.
    """

    value_type: ValueType = TEXT
    example: str = ""
    instruction: str = ""
    is_secret: bool = False


SECRET_KEYS = ("appKey", "appSecret", "password")
CREDENTIAL_SCHEMA = {key: StackKey(TEXT, is_secret=key in SECRET_KEYS) for _, key in CREDENTIAL_SETTINGS.values()}
SCHEMA = {
    "accounts": StackKey(LIST, '["0000123456-00001"]', "list the ThingSpace accounts"),
    "listener": StackKey(
        MAP, "{kind: external, url: https://sms.example.com/callbacks/{account}}", "set where the listener runs"
    ),
    "triggers": StackKey(LIST, '["2026-03-01"]'),
    "rotation": StackKey(NUMBER_OR_WORD, "1"),
    "adopt": StackKey(BOOLEAN, "false"),
    "protect": StackKey(BOOLEAN, "true"),
    "profile": StackKey(TEXT, "plant_a"),
    "profiles": StackKey(MAP, "{plant_a: {username: plant-a}}", is_secret=True),
    "resourceTimeoutSeconds": StackKey(NUMBER, "300"),
    "callsPerSecond": StackKey(NUMBER, "20"),
    **CREDENTIAL_SCHEMA,
}
HOST_KIND = StackKey(TEXT, "local")
HOST_SCHEMAS = {  # by the kind of listener host
    "local": {
        "kind": HOST_KIND,
        "port": StackKey(NUMBER, "28200"),
    },
    "external": {
        "kind": HOST_KIND,
        "url": StackKey(
            TEXT, "https://sms.example.com/callbacks/{account}", "set the callback URL of the external listener"
        ),
        "readiness": StackKey(BOOLEAN, "true"),
    },
    "kubernetes": {
        "kind": HOST_KIND,
        "image": StackKey(TEXT, "registry.example.com/thingspace-provider:0.1.0", "set the image of the listener"),
        "host": StackKey(TEXT, "sms.example.com", "set the DNS name of the callback URL"),
        "store": StackKey(TEXT_OR_MAP, "{size: 1Gi}", "set a PostgreSQL URL, or a volume for SQLite", is_secret=True),
        "replicas": StackKey(NUMBER, "2"),
        "namespace": StackKey(TEXT, "sms"),
        "ingress": StackKey(MAP, "{className: nginx, tlsSecret: sms-tls}"),
        "gateway": StackKey(MAP, "{name: public, namespace: gateways}"),
        "sinks": StackKey(LIST, "[{name: hub, kind: http, url: https://hub.example.com/events}]"),
        "recoveryMode": StackKey(TEXT, "startCallbacks"),
        "recoveryCredentials": StackKey(MAP, is_secret=True),
        "apiToken": StackKey(TEXT, is_secret=True),
        "settings": StackKey(MAP, "{retentionDays: 90}"),
        "environment": StackKey(MAP, "{OTEL_EXPORTER_OTLP_ENDPOINT: http://collector.observability:4318}"),
        "resources": StackKey(MAP, "{limits: {memory: 512Mi}}"),
        "adminNamespaces": StackKey(LIST, "[operations]"),
        "monitoring": StackKey(BOOLEAN, "true"),
        "rolloutTimeoutSeconds": StackKey(NUMBER, "300"),
        "preStopSeconds": StackKey(NUMBER, "5"),
    },
}
SECRETS_OF_LISTENER = ("store", "apiToken", "signingSecrets", "sasl.password")  # text or lists; also inside of sinks
MAX_SECRET_DEPTH = 4  # below `profiles` and `listener`; one level more than is valid, to find misplaced secrets
EXAMPLES = {
    **{key: stack_key.example for key, stack_key in SCHEMA.items()},
    **{f"listener.{key}": host_key.example for schema in HOST_SCHEMAS.values() for key, host_key in schema.items()},
}
KNOWN_KEYS = frozenset(SCHEMA)
PROVIDER_KEYS = {
    *CREDENTIAL_SCHEMA,
    "profiles",
    *(key for _, key, _, _ in LIMITS.values()),
}  # StackSettings has the others
NOT_CHECKED = "accounts and listener are not checked: the stack sets no key of StackSettings"
# The booleans of YAML 1.1, which are text to the engine. They are booleans for a key that accepts nothing else.
YAML_1_1_BOOLEANS = {**dict.fromkeys(("yes", "on", "y"), True), **dict.fromkeys(("no", "off", "n"), False)}
SHORT_REPR = reprlib.Repr()  # the beginning of an invalid value of any size
SHORT_REPR.maxlevel = 2
SHORT_REPR.maxstring = SHORT_REPR.maxother = SHORT_REPR.maxlong = 60


@dataclass(frozen=True)
class Violation:
    """An invalid or missing value in a stack file.

    Args:
        path: its path below `thingspace:`, for example ("listener", "url") or ("accounts", 1).
        message: what is wrong, to follow the key in a sentence. Holds no secret.
        example: a valid line, or "".
    """

    path: tuple[str | int, ...]
    message: str
    example: str = ""

    @property
    def key(self) -> str:
        """The key as it is in the file, for example `thingspace:listener.url`."""
        return f"{NAMESPACE}:" + ".".join(str(part) for part in self.path if isinstance(part, str))


def parse_value(key: str, text: str) -> Any:
    """Parse the value of a key that the engine returned as text.

    The engine returns lists and maps as JSON. A value of `pulumi config set` is YAML in one line. A value of a text
    key, or one that cannot be parsed, is returned as it is.
    """
    stack_key = SCHEMA.get(key)
    if stack_key is None or stack_key.value_type is TEXT:
        return text
    if stack_key.value_type is BOOLEAN and text.lower() in YAML_1_1_BOOLEANS:
        return YAML_1_1_BOOLEANS[text.lower()]
    with contextlib.suppress(ValueError, RecursionError):
        if text.startswith(("[", "{")):
            value = json.loads(text)
            json.dumps(value, ensure_ascii=False).encode()  # rejects a lone surrogate, which cannot be encoded
            return value
    if key == "profiles":  # the provider process reads them too, and parses only JSON
        return text or None
    with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):
        node = yaml.compose(text, Loader=pulumi_yaml.PulumiYamlLoader)
        return None if node is None else pulumi_yaml.NodeConverter().value(node)
    return text


def has_program_keys(keys: Iterable[str]) -> bool:
    """Return whether a stack has a key of StackSettings. Without one, accounts and listener may be absent."""
    return not PROVIDER_KEYS.issuperset(keys)


def validate(values: Mapping[str, Any], *, is_for_program: bool = True) -> Iterator[Violation]:
    """Yield all violations of the schema. UNKNOWN values are valid, required keys are those of StackSettings."""
    for key in values:
        if key not in SCHEMA:
            yield Violation((key,), f"is not a known key; {did_you_mean(key, SCHEMA, f'{NAMESPACE}:')}")
    for key, stack_key in SCHEMA.items():
        if is_for_program and stack_key.instruction and values.get(key) in (None, [], {}):
            yield _violation((key,), f"is missing: {stack_key.instruction}")
    valid = yield from _check_types((), values, SCHEMA)
    yield from _check_accounts(valid.get("accounts", []))
    if valid.get("listener"):
        yield from _check_listener(valid["listener"], len(valid.get("accounts", [])))
    for failure in validation.check_profile({"profile": valid.get("profile")}):
        yield _violation(("profile",), f"is invalid: {failure.reason}")
    yield from _check_profiles(valid.get("profiles", {}))
    yield from _check_limits(valid)


def find_secrets(values: Mapping[Any, Any], path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the known secrets of the default user, of profiles and of the listener, with their paths."""
    for key, value in values.items():
        is_secret = key in SECRET_KEYS or (path[:1] == ("listener",) and key in SECRETS_OF_LISTENER)
        is_plain = isinstance(value, str | int | float) or (isinstance(value, list) and UNKNOWN not in value)
        if is_secret and is_plain and value not in ("", []):
            yield (*path, key), value
        elif (path or key in ("profiles", "listener")) and len(path) < MAX_SECRET_DEPTH:
            entry = dict(enumerate(value)) if isinstance(value, list) else value
            yield from find_secrets(entry, (*path, key)) if isinstance(entry, dict) else ()


def listener_url(entry: object) -> str | None:
    """Return the callback URL of a listener with its placeholders; None for a local one and if it is unknown."""
    if not isinstance(entry, dict):
        return None
    host = entry.get("host")
    if entry.get("kind") == "kubernetes" and isinstance(host, str):
        return f"https://{host}/callbacks/{{path_token}}/{{account}}"
    url = entry.get("url")
    return url if entry.get("kind") == "external" and isinstance(url, str) else None


def stack_directory() -> Path:
    """Return the directory of the stack files, relative to the project: stackConfigDir of Pulumi.yaml, or its own."""
    try:
        project = yaml.safe_load(Path("Pulumi.yaml").read_text(encoding="utf-8"))
        directory = project.get("stackConfigDir")
    except (OSError, ValueError, yaml.YAMLError, AttributeError):
        directory = None
    return Path(directory if isinstance(directory, str) else "")


def stack_file_path(stack: str) -> str:
    """Return the path of a stack's file, relative to the project."""
    return str(stack_directory() / f"Pulumi.{stack}.yaml")


def _check_types(
    path: tuple[str, ...], values: Mapping[str, Any], schema: Mapping[str, StackKey]
) -> Generator[Violation, None, dict[str, Any]]:
    """Return the known values of valid types."""
    valid = {}
    for key, stack_key in schema.items():
        value = values.get(key)
        if stack_key.value_type.accepts(value):
            valid[key] = value
        elif value is not None and value is not UNKNOWN:
            yield _violation((*path, key), _describe_type_error(stack_key, value))
    return valid


def _check_keys(
    path: tuple[str, ...], entry: Mapping[Any, Any], schema: Collection[str], kind: str
) -> Iterator[Violation]:
    for key in entry:
        if key not in schema:
            yield _violation((*path, str(key)), f"is not a key of a {kind}; {did_you_mean(str(key), schema)}")


def _describe_type_error(stack_key: StackKey, value: Any) -> str:
    actual = "has the wrong type" if stack_key.is_secret else f"is {SHORT_REPR.repr(value)}"
    return f"{actual}; it must be {stack_key.value_type.description}"


def _check_accounts(accounts: list[Any]) -> Iterator[Violation]:
    seen = set()
    for index, account in enumerate(accounts):
        for failure in validation.account_name_errors("accounts", account):
            yield _violation(("accounts", index), failure.reason)
        if isinstance(account, str) and account in seen:
            yield _violation(("accounts", index), f"names {account} more than once")
        if isinstance(account, str):
            seen.add(account)


def _check_listener(entry: dict[Any, Any], account_count: int) -> Iterator[Violation]:
    kind = entry.get("kind")
    if kind is UNKNOWN:
        return
    if not isinstance(kind, str) or kind not in HOST_SCHEMAS:
        *kinds, last = HOST_SCHEMAS
        yield _violation(("listener", "kind"), f"is {SHORT_REPR.repr(kind)}; it must be {', '.join(kinds)} or {last}")
        return
    yield from _check_keys(("listener",), entry, HOST_SCHEMAS[kind], f"listener of kind {kind}")
    valid = yield from _check_types(("listener",), entry, HOST_SCHEMAS[kind])
    port, url = valid.get("port"), valid.get("url")
    if port is not None and not validation.is_accepted_port(port):
        rejected = f"is {SHORT_REPR.repr(port)}, which ThingSpace rejects"
        yield _violation(("listener", "port"), f"{rejected}; it accepts {validation.ACCEPTED_PORTS_TEXT}")
    for key, host_key in HOST_SCHEMAS[kind].items():
        if host_key.instruction and entry.get(key) in (None, ""):
            yield _violation(("listener", key), f"is missing: {host_key.instruction}")
    if url and (error := validation.url_template_error(url, account_count)):
        yield _violation(("listener", "url"), error)
    elif url and (error := validation.callback_url_error(url.replace("{account}", "0").replace("{path_token}", "0"))):
        yield _violation(("listener", "url"), f"is invalid: {error}")
    if kind == "kubernetes":
        yield from _check_kubernetes(entry)


def _check_kubernetes(entry: dict[Any, Any]) -> Iterator[Violation]:
    for option, keys in validation.KUBERNETES_KEYS.items():
        if option not in ("settings", "resources") and isinstance(entry.get(option), dict):
            schema = {key: StackKey(MAP if key == "annotations" else TEXT, is_secret=True) for key in keys}
            yield from _check_types(("listener", option), entry[option], schema)
    for failure in validation.kubernetes_option_errors(entry):
        yield _violation(("listener", *failure.key.split(".", 1)), failure.reason)


def _check_profiles(profiles: dict[Any, Any]) -> Iterator[Violation]:
    for name, entry in profiles.items():
        for failure in validation.check_profile({"profile": name}):
            yield _violation(("profiles", str(name)), f"is invalid: {failure.reason}")
        if not isinstance(entry, dict | Unknown):
            yield _violation(("profiles", str(name)), f"must be a map of {', '.join(CREDENTIAL_SCHEMA)}")
        elif isinstance(entry, dict):
            yield from _check_keys(("profiles", str(name)), entry, CREDENTIAL_SCHEMA, "profile")


def _check_limits(valid: Mapping[str, Any]) -> Iterator[Violation]:
    for _, key, min_value, max_value in LIMITS.values():
        if key in valid and not min_value <= valid[key] <= max_value:
            yield _violation((key,), f"is {valid[key]}; it must be from {min_value:g} to {max_value:g}")


def _violation(path: tuple[str | int, ...], message: str) -> Violation:
    """Return a violation with the example of its key, or of the key that contains it."""
    keys = [part for part in path if isinstance(part, str)]
    names = (".".join(keys[:length]) for length in range(len(keys), 0, -1))
    key = next((name for name in names if EXAMPLES.get(name)), "")
    return Violation(path, message, f"{NAMESPACE}:{key}: {EXAMPLES[key]}" if key else "")
