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
from thingspace_provider.config.credentials import LIMITS
from thingspace_provider.config.credentials import SETTINGS as CREDENTIALS
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
    "deadline": "300",
    "callsPerSecond": "20",
}
KINDS: dict[str, type | tuple[type, ...]] = {
    "accounts": list,
    "listener": dict,
    "triggers": list,
    "rotation": (int, str),
    "adopt": bool,
    "protect": bool,
    "profiles": dict,
    "deadline": (int, float),
    "callsPerSecond": (int, float),
}  # every other key is text
IN_WORDS: dict[type | tuple[type, ...], str] = {
    list: "a list",
    dict: "a map",
    bool: "true or false",
    str: "text",
    (int, str): "a number or a word",
    (int, float): "a number",
}
LISTENERS = {"local": ("kind", "port"), "external": ("kind", "url", "readiness")}  # kind -> its keys
CREDENTIAL_KEYS = tuple(key for _, key in CREDENTIALS.values())
SECRET_KEYS = ("appKey", "appSecret", "password")  # of the credentials
KNOWN = {key for key in EXAMPLES if "." not in key} | set(CREDENTIAL_KEYS)
# The words of YAML 1.1 for true and false: texts to the engine, meant as such only where a key can be nothing else.
SWITCHES = {**dict.fromkeys(("yes", "on", "y"), True), **dict.fromkeys(("no", "off", "n"), False)}
SHOWN = reprlib.Repr()  # of a value that is not as it should be: its beginning, however large it is
SHOWN.maxlevel = 2
SHOWN.maxstring = SHOWN.maxother = SHOWN.maxlong = 60


@dataclass(frozen=True)
class Problem:
    """Something in a stack file that cannot be used.

    Args:
        path: where it stands below `thingspace:`, as ("listener", "url") or ("accounts", 1); for a key that is
            missing, where it would stand.
        what: what is wrong, to be read after the key; never a secret.
        example: a line that would be right, or "".
    """

    path: tuple[str | int, ...]
    what: str
    example: str = ""

    @property
    def key(self) -> str:
        """The key as a person would look for it: `thingspace:listener.url`."""
        return f"{NAMESPACE}:" + ".".join(str(part) for part in self.path if isinstance(part, str))


def read(key: str, text: str) -> Any:
    """The value of a key that the engine handed over as text: text stays text, and so does what cannot be read.

    Of lists and maps the engine makes JSON; what a person typed at `pulumi config set` is YAML in one line.
    """
    if key not in KINDS:
        return text
    if KINDS[key] is bool and text.lower() in SWITCHES:
        return SWITCHES[text.lower()]
    with contextlib.suppress(ValueError, RecursionError):
        if text.startswith(("[", "{")):
            value = json.loads(text)
            json.dumps(value, ensure_ascii=False).encode()  # half a character could not be shown or sent
            return value
    if key == "profiles":  # the provider's process reads them too, and knows no YAML
        return text or None
    with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):
        node = yaml.compose(text, Loader=pulumi_yaml.Loader)
        return None if node is None else pulumi_yaml.Reader().value(node)
    return text


def problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything wrong with the values of the keys below `thingspace:`; UNKNOWN ones are taken to be right."""
    for key in values:
        if key not in KNOWN:
            yield Problem((key,), f"is not a setting; {suggestion(key, KNOWN, f'{NAMESPACE}:')}")
    usable = {}
    for key, value in values.items():
        if key not in KNOWN or value is None or value is UNKNOWN:
            continue
        if problem := _wrong_kind(key, value):
            yield problem
        else:
            usable[key] = value
    for key, question in (
        ("accounts", "which ThingSpace accounts are meant?"),
        ("listener", "where does the listener run?"),
    ):
        if values.get(key) in (None, [], {}):
            yield _problem((key,), f"is missing: {question}")
    yield from _accounts(usable.get("accounts", []))
    if usable.get("listener"):
        yield from _listener(usable["listener"])
    for failure in validation.profile({"profile": usable.get("profile")}):
        yield _problem(("profile",), f"is not usable: {failure.reason}")
    yield from _profiles(usable.get("profiles", {}))
    yield from _limits(usable)


def _limits(usable: Mapping[str, Any]) -> Iterator[Problem]:
    for _, key, least, most in LIMITS.values():
        if key in usable and not least <= usable[key] <= most:
            yield _problem((key,), f"is {usable[key]}; it is a number from {least:g} to {most:g}")


def stack_file(stack: str) -> str:
    """The path of a stack's file as a person would type it."""
    try:
        project = yaml.safe_load(Path("Pulumi.yaml").read_text(encoding="utf-8"))
        folder = str(project.get("stackConfigDir") or project.get("config") or "")
    except (OSError, yaml.YAMLError, AttributeError):
        folder = ""
    return str(Path(folder) / f"Pulumi.{stack}.yaml")


def suggestion(key: str, known: Iterable[str], prefix: str = "") -> str:
    """What a wrong key may have been meant to be."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, 1)
    return f"did you mean {prefix}{near[0]}?" if near else f"known are {', '.join(names)}"


def _wrong_kind(key: str, value: Any) -> Problem | None:
    kind = KINDS.get(key, str)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return None
    said = "is of another kind" if key in SECRET_KEYS or key == "profiles" else f"is {SHOWN.repr(value)}"
    return _problem((key,), f"{said}; it must be {IN_WORDS[kind]}")


def _accounts(listed: list[Any]) -> Iterator[Problem]:
    seen = set()
    for index, entry in enumerate(listed):
        for problem in validation.account_problems("accounts", entry):
            yield _problem(("accounts", index), problem.reason)
        if isinstance(entry, str) and entry in seen:
            yield _problem(("accounts", index), f"names {entry} more than once")
        if isinstance(entry, str):
            seen.add(entry)


def _listener(entry: dict[Any, Any]) -> Iterator[Problem]:
    kind = entry.get("kind")
    if kind is UNKNOWN:
        return
    if not isinstance(kind, str) or kind not in LISTENERS:
        yield _problem(("listener", "kind"), f"is {SHOWN.repr(kind)}; it is {' or '.join(LISTENERS)}")
        return
    for key in entry:
        if key not in LISTENERS[kind]:
            what = f"is not a key of a listener of kind {kind}; {suggestion(str(key), LISTENERS[kind])}"
            yield _problem(("listener", str(key)), what)
    port, readiness = entry.get("port"), entry.get("readiness", False)
    if kind == "local" and port is not None and port is not UNKNOWN and not validation.is_accepted_port(port):
        what = f"is {SHOWN.repr(port)}, which ThingSpace refuses; it accepts {validation.PORTS_IN_WORDS}"
        yield _problem(("listener", "port"), what)
    if kind == "external":
        yield from _url(entry.get("url"))
        if readiness is not UNKNOWN and not isinstance(readiness, bool):
            yield _problem(("listener", "readiness"), "must be true or false")


def _url(url: Any) -> Iterator[Problem]:
    if url is UNKNOWN:
        return
    if not url:
        yield _problem(("listener", "url"), "is missing: an external listener is a URL that already exists")
    elif not isinstance(url, str):
        yield _problem(("listener", "url"), "must be text")
    elif problem := validation.url_problem(url.replace("{account}", "0").replace("{path_token}", "0")):
        yield _problem(("listener", "url"), f"is not usable: {problem}")


def _profiles(profiles: dict[Any, Any]) -> Iterator[Problem]:
    for name, entry in profiles.items():
        for problem in validation.profile({"profile": name}):
            yield _problem(("profiles", str(name)), f"is not usable: {problem.reason}")
        if not isinstance(entry, dict | Unknown):
            yield _problem(("profiles", str(name)), f"must be a map of {', '.join(CREDENTIAL_KEYS)}")
        elif isinstance(entry, dict):
            for key in entry:
                if key not in CREDENTIAL_KEYS:
                    what = f"is not a key of a profile; {suggestion(str(key), CREDENTIAL_KEYS)}"
                    yield _problem(("profiles", str(name), str(key)), what)


def _problem(path: tuple[str | int, ...], what: str) -> Problem:
    """With the example of its key, or of the key that it stands in."""
    named = ".".join(part for part in path if isinstance(part, str))
    shown = named if named in EXAMPLES else str(path[0])
    return Problem(path, what, f"{NAMESPACE}:{shown}: {EXAMPLES[shown]}" if shown in EXAMPLES else "")
