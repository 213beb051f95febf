"""What is wrong in a stack file: the rules of `stack_keys` and those that only the file itself can break."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.api import PRODUCTION, Credentials
from thingspace_provider.api.errors import CredentialsMissing
from thingspace_provider.config.pulumi_yaml import PLAIN, Reader, entries, text_of
from thingspace_provider.config.stack_schema import (
    KINDS,
    KNOWN,
    NAMESPACE,
    SECRET_KEYS,
    SWITCHES,
    problems,
    read,
    suggestion,
)
from thingspace_provider.config.yaml_positions import NotYaml, Place, composed, find, place_of, twice
from thingspace_provider.lifecycle.model import UNKNOWN, Unknown

TOP_KEYS = {"config", "environment", "encryptionsalt", "encryptedkey", "secretsprovider"}
PRODUCTION_WORDS = {"prod", "production", "live"}
CIPHERTEXT = re.compile(r"v\d+:\S+|[A-Za-z0-9+/=_-]{40,}")
KEY = re.compile(r"[^:]*(:(config:)?[^:]*)?")  # of config: a name, alone or in a namespace
DEPTH = 3  # of profiles: where a secret may stand, one level more than is right


@dataclass(frozen=True)
class Finding:
    """Something to correct: where, what, and how."""

    file: str
    place: Place
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.what}\n    fix: {self.fix}"

    def as_json(self) -> dict[str, Any]:
        """`file`, `line`, `column`, `what`, `fix`."""
        return {"file": self.file, **asdict(self.place), "what": self.what, "fix": self.fix}


def findings(paths: Iterable[Path]) -> list[Finding]:
    """Everything wrong in these stack files, and between them, in the order of files and lines."""
    files = []
    found = []
    for path in paths:
        try:
            files.append(StackFile(path, composed(path)))
        except NotYaml as reason:  # noqa: PERF203  the other files are looked at all the same
            found.append(Finding(str(path), reason.place, str(reason), reason.fix))
    for file in files:
        found += file.findings()
    return sorted([*found, *_fights(files)], key=lambda finding: (finding.file, finding.place))


@dataclass
class StackFile:
    """One stack file as nodes; never shows a value that may be a secret."""

    path: Path
    root: yaml.Node | None
    _found: dict[Finding, None] = field(default_factory=dict, init=False)  # in their order, each once

    @cached_property
    def config(self) -> yaml.Node | None:
        """What stands below `config:`."""
        return next((value for key, value in entries(self.root) if key.value == "config"), None)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The values of the keys in our namespace; encrypted ones are UNKNOWN."""
        reader = _Reader(self._at)
        values = {}
        for key, node in entries(self.config):
            space, _, name = key.value.partition(":")
            if space == NAMESPACE:
                value = reader.value(node)
                values[name] = value if isinstance(value, dict | list | Unknown) else self._text(name, node, value)
        return values

    def _text(self, name: str, node: yaml.Node, value: Any) -> Any:
        """A value that the engine hands over as text."""
        text = text_of(value)
        if name not in KINDS and value is not None and text != node.value and not isinstance(value, bool):
            what = f"{NAMESPACE}:{name} is not quoted: the engine takes it for a number and hands over another text"
            self._at(node, what, "Quote it.")
        return read(name, text)

    @cached_property
    def base_url(self) -> Any:
        """Which ThingSpace this stack is for, as far as its file tells."""
        given = self.values.get("baseUrl") or PRODUCTION
        return given.rstrip("/") if isinstance(given, str) else given

    @property
    def is_production(self) -> bool:
        """Whether its name says so, or the real ThingSpace is meant."""
        stack = self.path.name.removeprefix("Pulumi.").removesuffix(self.path.suffix)
        return bool(PRODUCTION_WORDS & set(re.split(r"[-_.]", stack.lower()))) or self.base_url == PRODUCTION

    def findings(self) -> list[Finding]:
        """Everything wrong in this file alone."""
        self._form()
        self._namespaces()
        unquoted = set(self._unquoted())
        for problem in problems(self.values):
            missing_is_given_elsewhere = "environment" in self._top and problem.path[0] not in self.values
            if problem.path not in unquoted and not missing_is_given_elsewhere:
                fix = f"as in  {problem.example}" if problem.example else "Correct or remove it."
                self.add(problem.path, f"{problem.key} {problem.what}", fix)
        self._secrets(self.values, ())
        self._addresses()
        return list(self._found)

    def add(self, path: tuple[str | int, ...], what: str, fix: str) -> None:
        """Note something wrong with the value at a path below our namespace."""
        place = find(self.config, (f"{NAMESPACE}:{path[0]}", *path[1:])) or find(self.root, ("config",)) or Place()
        self._found[Finding(str(self.path), place, what, fix)] = None

    def _at(self, node: yaml.Node, what: str, fix: str) -> None:
        self._found[Finding(str(self.path), place_of(node.start_mark), what, fix)] = None

    @property
    def _top(self) -> dict[str, yaml.ScalarNode]:
        return {key.value: key for key, _ in entries(self.root)}

    def _form(self) -> None:
        """Maps where maps belong, and every key once."""
        if self.root is not None and not isinstance(self.root, yaml.MappingNode):
            self._at(self.root, "a stack file is a map with the key config", "Begin it with config:")
        for name, key in self._top.items():
            if name not in TOP_KEYS:
                inside = "Indent it below config:" if ":" in name else suggestion(name, TOP_KEYS)
                self._at(key, f"{name} is not a key of a stack file", inside)
        empty = isinstance(self.config, yaml.ScalarNode) and not self.config.value
        if self.config is not None and not empty and not isinstance(self.config, yaml.MappingNode):
            self._at(self.config, "config must be a map", f"as in  {NAMESPACE}:rotation: 1")
        for key, first in twice(self.root):
            what = f"{key.value} stands here again, after line {first.start_mark.line + 1}; only one of them can hold"
            self._at(key, what, "Keep the one that is meant.")

    def _namespaces(self) -> None:
        for key, _ in entries(self.config):
            space, colon, name = key.value.rpartition(":")
            if not isinstance(_Reader(self._at).value(key), str) or not KEY.fullmatch(key.value):
                self._at(key, f"{key.value} is no key to the engine", f"as in  {NAMESPACE}:rotation: 1")
            ours = not colon and name in KNOWN
            close = space != NAMESPACE and re.sub(r"[-_ ]", "", space.lower()).startswith(NAMESPACE)
            if ours or close:
                read_there = f"is read by nobody: settings of this program begin with {NAMESPACE}:"
                self._at(key, f"{key.value} {read_there}", suggestion(name, KNOWN, f"{NAMESPACE}:"))

    def _unquoted(self) -> Iterator[tuple[str | int, ...]]:
        """The paths of account names that are no quoted text, and of words that are true or false to YAML 1.1."""
        for key, node in entries(self.config):
            space, _, name = key.value.partition(":")
            for path, item in _plain_inside(node, (name,)) if space == NAMESPACE else ():
                if path[:-1] == ("accounts",) and isinstance(path[-1], int):
                    is_text = isinstance(_Reader(self._at).value(item), str)
                    danger = (
                        "a shorter one would lose its leading zeros" if is_text else "YAML takes it for another value"
                    )
                    what = f"{NAMESPACE}:accounts: {item.value} is not quoted: {danger}"
                    self._at(item, what, f'Write "{item.value}", all leading zeros included.')
                    yield path
                elif item.value.lower() in SWITCHES:
                    meant = text_of(SWITCHES[item.value.lower()])
                    what = f"{NAMESPACE}:{'.'.join(map(str, path))}: {item.value} is text to the engine, not {meant}"
                    self._at(item, what, f'Write {meant}, or "{item.value}" if the text is meant.')
                    yield path

    def _secrets(self, values: dict[Any, Any], path: tuple[str, ...]) -> None:
        """Secrets that are not encrypted, in the default user and in profiles."""
        for key, value in values.items():
            if key in SECRET_KEYS and value is not UNKNOWN and value not in ("", None):
                name = f"{NAMESPACE}:{'.'.join((*path, key))}"
                how = f"pulumi config set --secret {'--path ' if path else ''}{name}"
                fix = f"{how}, and have it changed in ThingSpace if this file was ever committed."
                self.add((*path, key), f"{name} is a secret in clear", fix)
            elif isinstance(value, dict) and (key == "profiles" or path) and len(path) < DEPTH:
                self._secrets(value, (*path, str(key)))

    def _addresses(self) -> None:
        """Where plain http would be wrong, and URLs that several accounts cannot share."""
        self._base_url(("baseUrl",), self.values.get("baseUrl"))
        profiles = self.values.get("profiles")
        for name, entry in (profiles if isinstance(profiles, dict) else {}).items():
            self._base_url(
                ("profiles", str(name), "baseUrl"), entry.get("baseUrl") if isinstance(entry, dict) else None
            )
        listener, accounts = self.values.get("listener"), self.values.get("accounts")
        if not isinstance(listener, dict):
            return
        url = listener.get("url")
        if listener.get("kind") == "local" and self.is_production:
            self.add(
                ("listener", "kind"),
                f"{NAMESPACE}:listener.kind is local, and ThingSpace cannot reach a process on this machine",
                "kind: external with an https URL; for development, set thingspace:baseUrl to an emulator's address.",
            )
        if not isinstance(url, str):
            return
        if url.startswith("http://") and self.is_production:
            what = f"{NAMESPACE}:listener.url is plain http: texts and the callback password would travel in clear"
            self.add(("listener", "url"), what, "Use https:// with a certificate of a public CA.")
        if isinstance(accounts, list) and len(accounts) > 1 and "{account}" not in url:
            what = f"{NAMESPACE}:listener.url is the same for {len(accounts)} accounts"
            self.add(("listener", "url"), what, "Put {account} into it, as in https://sms.example.com/{account}")

    def _base_url(self, path: tuple[str, ...], url: Any) -> None:
        if not isinstance(url, str) or not url:
            return
        try:
            Credentials("", "", "", "", url)
        except CredentialsMissing as reason:
            self.add(path, f"{NAMESPACE}:{'.'.join(path)}: {reason.answer}", reason.remedy)
            return
        if url.startswith("http://") and self.is_production:
            what = f"{NAMESPACE}:{'.'.join(path)} is plain http in a stack that is called production"
            self.add(path, what, f"Leave it out, or {PRODUCTION}.")


def _plain_inside(node: yaml.Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], yaml.Node]]:
    """Values in a map or list that have neither quotes nor a tag, with their paths."""
    inside: Iterable[tuple[str | int, yaml.Node]] = ()
    if isinstance(node, yaml.MappingNode):
        inside = ((key.value, value) for key, value in entries(node))
    elif isinstance(node, yaml.SequenceNode):
        inside = enumerate(node.value)
    for part, child in inside:
        if child.tag == PLAIN and child.value:
            yield (*path, part), child
        yield from _plain_inside(child, (*path, part))


class _Reader(Reader):
    """Reads on where the engine would not, and does without what is encrypted: both are UNKNOWN."""

    def __init__(self, found: Callable[[yaml.Node, str, str], None]) -> None:
        super().__init__()
        self._found = found

    def refused(self, node: yaml.Node) -> Any:
        self._found(node, "this value is not what it looks like to YAML", 'Quote it, as "2026-03-01".')
        return UNKNOWN

    def secret(self, node: yaml.Node, ciphertext: str) -> Any:
        if not CIPHERTEXT.fullmatch(ciphertext):
            self._found(node, "what stands after secure: is not encrypted", "Set it with pulumi config set --secret.")
        return UNKNOWN


def _fights(files: list[StackFile]) -> Iterator[Finding]:
    """Accounts that two stacks want of the same ThingSpace: each would take the other's registration away."""
    first: dict[tuple[str, str], StackFile] = {}
    for file in files:
        accounts = file.values.get("accounts")
        for index, account in enumerate(accounts if isinstance(accounts, list) else ()):
            if not isinstance(account, str) or not isinstance(file.base_url, str):
                continue
            other = first.setdefault((file.base_url, account), file)
            if other is not file:
                what = f"account {account} is in {other.path} too, and ThingSpace keeps one listener for it"
                place = find(file.config, (f"{NAMESPACE}:accounts", index)) or Place()
                yield Finding(str(file.path), place, what, "Leave it to one of the two stacks.")
