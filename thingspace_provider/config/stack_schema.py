"""What a stack file says under `thingspace:`: which keys there are, and what is wrong with a value.

Knows nothing of Pulumi: `settings.py` reads what the engine hands over, `thingspace lint` reads the file itself, and
both find the same problems.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.config import pulumi_yaml
from thingspace_provider.config.credentials import CREDENTIAL_SETTINGS as CREDENTIALS
from thingspace_provider.config.credentials import LIMITS
from thingspace_provider.lifecycle import validation
from thingspace_provider.lifecycle.model import UNKNOWN, Unknown

NAMESPACE = "thingspace"
EXAMPLES: dict[str, str] = {
    "accounts": '["0000123456-00001"]',
    "listener": "{kind: external, url: https://sms.example.com/callbacks/{account}}",
    "listener.kind": "local",
    "listener.url": "https://sms.example.com/callbacks/{account}",
    "listener.port": "28200",
    "listener.readiness": "true",
    "triggers": '["2026-03-01"]',
    "rotation": "1",
    "adopt": "false",
    "protect": "true",
    "profile": "plant_a",
    "profiles": "{plant_a: {username: plant-a}}",
    "resourceTimeoutSeconds": "300",
    "callsPerSecond": "20",
}
VALUE_TYPES: dict[str, type | tuple[type, ...]] = {
    "accounts": list,
    "listener": dict,
    "triggers": list,
    "rotation": (int, str),
    "adopt": bool,
    "protect": bool,
    "profiles": dict,
    "resourceTimeoutSeconds": (int, float),
    "callsPerSecond": (int, float),
}  # every other key is text
TYPE_NAMES: dict[type | tuple[type, ...], str] = {
    list: "a list",
    dict: "a map",
    bool: "true or false",
    str: "text",
    (int, str): "a number or a word",
    (int, float): "a number",
}
HOST_KEYS = {"local": ("kind", "port"), "external": ("kind", "url", "readiness")}  # kind -> its keys
CREDENTIAL_KEYS = tuple(key for _, key in CREDENTIALS.values())
SECRET_KEYS = ("appKey", "appSecret", "password")  # of the credentials
KNOWN_KEYS = {key for key in EXAMPLES if "." not in key} | set(CREDENTIAL_KEYS)
# The words of YAML 1.1 for true and false: texts to the engine, meant as such only where a key can be nothing else.
YAML_1_1_BOOLEANS = {**dict.fromkeys(("yes", "on", "y"), True), **dict.fromkeys(("no", "off", "n"), False)}
SHORT_REPR = reprlib.Repr()  # of a value that is not as it should be: its beginning, however large it is
SHORT_REPR.maxlevel = 2
SHORT_REPR.maxstring = SHORT_REPR.maxother = SHORT_REPR.maxlong = 60


@dataclass(frozen=True)
class Violation:
    """Something in a stack file that cannot be used.

    Args:
        path: where it stands below `thingspace:`, as ("listener", "url") or ("accounts", 1); for a key that is
            missing, where it would stand.
        what: what is wrong, to be read after the key; never a secret.
        example: a line that would be right, or "".
    """

    path: tuple[str | int, ...]
    message: str
    example: str = ""

    @property
    def key(self) -> str:
        """The key as a person would look for it: `thingspace:listener.url`."""
        return f"{NAMESPACE}:" + ".".join(str(part) for part in self.path if isinstance(part, str))


def parse_value(key: str, text: str) -> Any:
    """The value of a key that the engine handed over as text: text stays text, and so does what cannot be read.

    Of lists and maps the engine makes JSON; what a person typed at `pulumi config set` is YAML in one line.
    """
    if key not in VALUE_TYPES:
        return text
    if VALUE_TYPES[key] is bool and text.lower() in YAML_1_1_BOOLEANS:
        return YAML_1_1_BOOLEANS[text.lower()]
    with contextlib.suppress(ValueError, RecursionError):
        if text.startswith(("[", "{")):
            value = json.loads(text)
            json.dumps(value, ensure_ascii=False).encode()  # half a character could not be shown or sent
            return value
    if key == "profiles":  # the provider's process reads them too, and knows no YAML
        return text or None
    with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):
        node = yaml.compose(text, Loader=pulumi_yaml.PulumiYamlLoader)
        return None if node is None else pulumi_yaml.NodeConverter().value(node)
    return text


def validate(values: Mapping[str, Any]) -> Iterator[Violation]:
    """Everything wrong with the values of the keys below `thingspace:`; UNKNOWN ones are taken to be right."""
    for key in values:
        if key not in KNOWN_KEYS:
            yield Violation((key,), f"is not a setting; {did_you_mean(key, KNOWN_KEYS, f'{NAMESPACE}:')}")
    usable = {}
    for key, value in values.items():
        if key not in KNOWN_KEYS or value is None or value is UNKNOWN:
            continue
        if violation := _type_error(key, value):
            yield violation
        else:
            usable[key] = value
    for key, question in (
        ("accounts", "which ThingSpace accounts are meant?"),
        ("listener", "where does the listener run?"),
    ):
        if values.get(key) in (None, [], {}):
            yield _violation((key,), f"is missing: {question}")
    yield from _check_accounts(usable.get("accounts", []))
    if usable.get("listener"):
        yield from _check_listener(usable["listener"])
    for failure in validation.check_profile({"profile": usable.get("profile")}):
        yield _violation(("profile",), f"is not usable: {failure.reason}")
    yield from _check_profiles(usable.get("profiles", {}))
    yield from _check_limits(usable)


def _check_limits(usable: Mapping[str, Any]) -> Iterator[Violation]:
    for _, key, min_value, max_value in LIMITS.values():
        if key in usable and not min_value <= usable[key] <= max_value:
            yield _violation((key,), f"is {usable[key]}; it is a number from {min_value:g} to {max_value:g}")


def stack_file_path(stack: str) -> str:
    """The path of a stack's file as a person would type it."""
    try:
        project = yaml.safe_load(Path("Pulumi.yaml").read_text(encoding="utf-8"))
        folder = str(project.get("stackConfigDir") or project.get("config") or "")
    except (OSError, yaml.YAMLError, AttributeError):
        folder = ""
    return str(Path(folder) / f"Pulumi.{stack}.yaml")


def did_you_mean(key: str, known: Iterable[str], prefix: str = "") -> str:
    """What a wrong key may have been meant to be."""
    names = sorted(known)
    matches = difflib.get_close_matches(key, names, 1)
    return f"did you mean {prefix}{matches[0]}?" if matches else f"known are {', '.join(names)}"


def _type_error(key: str, value: Any) -> Violation | None:
    expected_type = VALUE_TYPES.get(key, str)
    if isinstance(value, expected_type) and (expected_type is bool or not isinstance(value, bool)):
        return None
    detail = "is of another kind" if key in SECRET_KEYS or key == "profiles" else f"is {SHORT_REPR.repr(value)}"
    return _violation((key,), f"{detail}; it must be {TYPE_NAMES[expected_type]}")


def _check_accounts(listed: list[Any]) -> Iterator[Violation]:
    seen = set()
    for index, entry in enumerate(listed):
        for failure in validation.account_name_errors("accounts", entry):
            yield _violation(("accounts", index), failure.reason)
        if isinstance(entry, str) and entry in seen:
            yield _violation(("accounts", index), f"names {entry} more than once")
        if isinstance(entry, str):
            seen.add(entry)


def _check_listener(entry: dict[Any, Any]) -> Iterator[Violation]:
    kind = entry.get("kind")
    if kind is UNKNOWN:
        return
    if not isinstance(kind, str) or kind not in HOST_KEYS:
        yield _violation(("listener", "kind"), f"is {SHORT_REPR.repr(kind)}; it is {' or '.join(HOST_KEYS)}")
        return
    for key in entry:
        if key not in HOST_KEYS[kind]:
            message = f"is not a key of a listener of kind {kind}; {did_you_mean(str(key), HOST_KEYS[kind])}"
            yield _violation(("listener", str(key)), message)
    port, readiness = entry.get("port"), entry.get("readiness", False)
    if kind == "local" and port is not None and port is not UNKNOWN and not validation.is_accepted_port(port):
        message = f"is {SHORT_REPR.repr(port)}, which ThingSpace refuses; it accepts {validation.ACCEPTED_PORTS_TEXT}"
        yield _violation(("listener", "port"), message)
    if kind == "external":
        yield from _check_url(entry.get("url"))
        if readiness is not UNKNOWN and not isinstance(readiness, bool):
            yield _violation(("listener", "readiness"), "must be true or false")


def _check_url(url: Any) -> Iterator[Violation]:
    if url is UNKNOWN:
        return
    if not url:
        yield _violation(("listener", "url"), "is missing: an external listener is a URL that already exists")
    elif not isinstance(url, str):
        yield _violation(("listener", "url"), "must be text")
    elif error := validation.callback_url_error(url.replace("{account}", "0").replace("{path_token}", "0")):
        yield _violation(("listener", "url"), f"is not usable: {error}")


def _check_profiles(profiles: dict[Any, Any]) -> Iterator[Violation]:
    for name, entry in profiles.items():
        for failure in validation.check_profile({"profile": name}):
            yield _violation(("profiles", str(name)), f"is not usable: {failure.reason}")
        if not isinstance(entry, dict | Unknown):
            yield _violation(("profiles", str(name)), f"must be a map of {', '.join(CREDENTIAL_KEYS)}")
        elif isinstance(entry, dict):
            for key in entry:
                if key not in CREDENTIAL_KEYS:
                    message = f"is not a key of a profile; {did_you_mean(str(key), CREDENTIAL_KEYS)}"
                    yield _violation(("profiles", str(name), str(key)), message)


def _violation(path: tuple[str | int, ...], message: str) -> Violation:
    """With the example of its key, or of the key that it stands in."""
    key = ".".join(part for part in path if isinstance(part, str))
    example_key = key if key in EXAMPLES else str(path[0])
    return Violation(
        path, message, f"{NAMESPACE}:{example_key}: {EXAMPLES[example_key]}" if example_key in EXAMPLES else ""
    )
