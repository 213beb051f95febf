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
        "url": StackKey(TEXT, "https://sms.example.com/callbacks/{account}"),
        "readiness": StackKey(BOOLEAN, "true"),
    },
}
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
        yield _violation(("listener", "kind"), f"is {SHORT_REPR.repr(kind)}; it must be {' or '.join(HOST_SCHEMAS)}")
        return
    yield from _check_keys(("listener",), entry, HOST_SCHEMAS[kind], f"listener of kind {kind}")
    valid = yield from _check_types(("listener",), entry, HOST_SCHEMAS[kind])
    port, url = valid.get("port"), valid.get("url")
    if port is not None and not validation.is_accepted_port(port):
        rejected = f"is {SHORT_REPR.repr(port)}, which ThingSpace rejects"
        yield _violation(("listener", "port"), f"{rejected}; it accepts {validation.ACCEPTED_PORTS_TEXT}")
    if kind == "external" and entry.get("url") in (None, ""):
        yield _violation(("listener", "url"), "is missing: set the callback URL of the external listener")
    elif url and (error := validation.url_template_error(url, account_count)):
        yield _violation(("listener", "url"), error)
    elif url and (error := validation.callback_url_error(url.replace("{account}", "0").replace("{path_token}", "0"))):
        yield _violation(("listener", "url"), f"is invalid: {error}")


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
    full_key = ".".join(part for part in path if isinstance(part, str))
    key = full_key if full_key in EXAMPLES else str(path[0])
    return Violation(path, message, f"{NAMESPACE}:{key}: {EXAMPLES[key]}" if EXAMPLES.get(key) else "")
