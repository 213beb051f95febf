"""Stack file linter: the schema of `stack_schema`, and rules about the file itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.api import PRODUCTION_BASE_URL, Credentials
from thingspace_provider.api.errors import InvalidSetting
from thingspace_provider.common.suggestions import did_you_mean
from thingspace_provider.config.pulumi_yaml import PLAIN, NodeConverter, mapping_items, to_config_string
from thingspace_provider.config.stack_schema import (
    KNOWN_KEYS,
    NAMESPACE,
    SCHEMA,
    TEXT,
    YAML_1_1_BOOLEANS,
    find_secrets,
    has_program_keys,
    parse_value,
    validate,
)
from thingspace_provider.config.yaml_positions import (
    Position,
    YamlSyntaxError,
    compose_file,
    find_duplicate_keys,
    find_position,
    to_position,
)
from thingspace_provider.lifecycle.model import UNKNOWN, Unknown

TOP_KEYS = {"config", "environment", "encryptionsalt", "encryptedkey", "secretsprovider"}
PRODUCTION_WORDS = {"prod", "production", "live"}
CIPHERTEXT = re.compile(r"v\d+:\S+|[A-Za-z0-9+/=_-]{40,}")
CONFIG_KEY = re.compile(r"[^:]*(:(config:)?[^:]*)?")  # a name, with or without a namespace
ACCOUNT_DIGITS = 10  # of a name without a dash


@dataclass(frozen=True)
class Finding:
    """An error in a stack file, with its position and the fix."""

    file: str
    position: Position
    message: str
    fix: str

    @property
    def location(self) -> str:
        """`file:line:column`, as compilers print it."""
        return f"{self.file}:{self.position.line}:{self.position.column}"

    def as_json(self) -> dict[str, Any]:
        """Return the keys `file`, `line`, `column`, `message` and `fix`."""
        return {"file": self.file, **asdict(self.position), "message": self.message, "fix": self.fix}


def lint_files(paths: Iterable[Path]) -> tuple[list[Finding], list[Path]]:
    """Check stack files, each for itself and against the others.

    Returns the findings, sorted by file and position, and the files whose accounts and listener were not checked.
    """
    files = []
    collected = []
    for path in paths:
        try:
            files.append(StackFile(path, compose_file(path)))
        except YamlSyntaxError as error:  # noqa: PERF203  the other files are linted too
            collected.append(Finding(str(path), error.position, str(error), error.fix))
    for file in files:
        collected += file.find_issues()
    findings = sorted([*collected, *_account_conflicts(files)], key=lambda finding: (finding.file, finding.position))
    return findings, [file.path for file in files if not has_program_keys(file.values)]


@dataclass
class StackFile:
    """A stack file as YAML nodes. Findings never hold a value that may be a secret."""

    path: Path
    root: yaml.Node | None
    _findings: dict[Finding, None] = field(default_factory=dict, init=False)  # used as an ordered set

    @cached_property
    def config(self) -> yaml.Node | None:
        """The node of the key `config`."""
        return next((value for key, value in mapping_items(self.root) if key.value == "config"), None)

    @cached_property
    def values(self) -> dict[str, Any]:
        """The values of the keys in the namespace `thingspace`. Encrypted values are UNKNOWN."""
        converter = _LintConverter(self._add_at)
        values = {}
        for key, node in mapping_items(self.config):
            namespace, _, name = key.value.partition(":")
            if namespace == NAMESPACE:
                value = converter.value(node)
                values[name] = (
                    value if isinstance(value, dict | list | Unknown) else self._parse_text(name, node, value)
                )
        return values

    def _parse_text(self, name: str, node: yaml.Node, value: Any) -> Any:
        """Parse a scalar, which the engine returns as text."""
        text = to_config_string(value)
        is_text_key = name not in SCHEMA or SCHEMA[name].value_type is TEXT
        if is_text_key and value is not None and text != node.value and not isinstance(value, bool):
            message = f"{NAMESPACE}:{name} is not quoted: the engine reads it as a number and changes its text"
            self._add_at(node, message, "Quote it.")
        return parse_value(name, text)

    @cached_property
    def base_url(self) -> Any:
        """The base URL of the file, or the default. The environment may override it."""
        value = self.values.get("baseUrl") or PRODUCTION_BASE_URL
        return value.rstrip("/") if isinstance(value, str) else value

    @property
    def is_production(self) -> bool:
        """Whether the name contains a production word, or the base URL is the real ThingSpace."""
        stack = self.path.name.removeprefix("Pulumi.").removesuffix(self.path.suffix)
        return bool(PRODUCTION_WORDS & set(re.split(r"[-_.]", stack.lower()))) or self.base_url == PRODUCTION_BASE_URL

    def find_issues(self) -> list[Finding]:
        """Return the findings in this file."""
        self._check_structure()
        self._check_namespaces()
        unquoted = set(self._check_quoting())
        for violation in validate(self.values, is_for_program=has_program_keys(self.values)):
            may_come_from_environment = "environment" in self._top and violation.path[0] not in self.values
            if violation.path not in unquoted and not may_come_from_environment:
                fix = f"for example  {violation.example}" if violation.example else "Correct or remove it."
                self.add(violation.path, f"{violation.key} {violation.message}", fix)
        self._check_secrets()
        self._check_urls()
        return list(self._findings)

    def add(self, path: tuple[str | int, ...], message: str, fix: str) -> None:
        """Add a finding about the value at a path below `thingspace:`."""
        position = (
            find_position(self.config, (f"{NAMESPACE}:{path[0]}", *path[1:]))
            or find_position(self.root, ("config",))
            or Position()
        )
        self._findings[Finding(str(self.path), position, message, fix)] = None

    def _add_at(self, node: yaml.Node, message: str, fix: str) -> None:
        self._findings[Finding(str(self.path), to_position(node.start_mark), message, fix)] = None

    @property
    def _top(self) -> dict[str, yaml.ScalarNode]:
        return {key.value: key for key, _ in mapping_items(self.root)}

    def _check_structure(self) -> None:
        """Check the top-level structure and find duplicate keys."""
        if self.root is not None and not isinstance(self.root, yaml.MappingNode):
            self._add_at(self.root, "a stack file must be a map with the key config", "Begin the file with config:")
        for name, key in self._top.items():
            if name not in TOP_KEYS:
                fix = "Indent it below config:" if ":" in name else did_you_mean(name, TOP_KEYS)
                self._add_at(key, f"{name} is not a key of a stack file", fix)
        is_empty = isinstance(self.config, yaml.ScalarNode) and not self.config.value
        if self.config is not None and not is_empty and not isinstance(self.config, yaml.MappingNode):
            self._add_at(self.config, "config must be a map", f"for example  {NAMESPACE}:rotation: 1")
        for key, first in find_duplicate_keys(self.root):
            message = f"{key.value} is set again, after line {first.start_mark.line + 1}"
            self._add_at(key, message, "Keep one of them.")

    def _check_namespaces(self) -> None:
        for key, _ in mapping_items(self.config):
            namespace, colon, name = key.value.rpartition(":")
            if not isinstance(_LintConverter(self._add_at).value(key), str) or not CONFIG_KEY.fullmatch(key.value):
                self._add_at(key, f"the engine rejects the key {key.value}", f"for example  {NAMESPACE}:rotation: 1")
            is_unprefixed = not colon and name in KNOWN_KEYS
            is_similar = namespace != NAMESPACE and re.sub(r"[-_ ]", "", namespace.lower()).startswith(NAMESPACE)
            if is_unprefixed or is_similar:
                detail = f"has no effect: the settings of this program begin with {NAMESPACE}:"
                self._add_at(key, f"{key.value} {detail}", did_you_mean(name, KNOWN_KEYS, f"{NAMESPACE}:"))

    def _check_quoting(self) -> Iterator[tuple[str | int, ...]]:
        """Check account names for quotes, and find booleans of YAML 1.1. Yields the paths of its findings."""
        for key, node in mapping_items(self.config):
            namespace, _, name = key.value.partition(":")
            for path, item in _plain_scalars(node, (name,)) if namespace == NAMESPACE else ():
                value = _LintConverter(self._add_at).value(item)
                if path[:-1] == ("accounts",) and not isinstance(value, str):
                    message, fix = _describe_unquoted_account(item.value, value)
                    self._add_at(item, f"{NAMESPACE}:accounts: {message}", fix)
                    yield path
                elif item.value.lower() in YAML_1_1_BOOLEANS:
                    boolean = to_config_string(YAML_1_1_BOOLEANS[item.value.lower()])
                    message = (
                        f"{NAMESPACE}:{'.'.join(map(str, path))}: {item.value} is text to the engine, not {boolean}"
                    )
                    self._add_at(item, message, f'Write {boolean}, or "{item.value}" for the text.')
                    yield path

    def _check_secrets(self) -> None:
        """Find secrets that are not encrypted."""
        for path, _ in find_secrets(self.values):
            name = f"{NAMESPACE}:" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
            command = f"pulumi config set --secret {'--path ' if path[1:] else ''}{name}"
            fix = f"Run `{command}`. If the file was ever committed, change the secret."
            self.add(path, f"{name} is a secret in plain text", fix)

    def _check_urls(self) -> None:
        """Find URLs without TLS in production."""
        self._check_base_url(("baseUrl",), self.values.get("baseUrl"))
        profiles = self.values.get("profiles")
        for name, entry in (profiles if isinstance(profiles, dict) else {}).items():
            self._check_base_url(
                ("profiles", str(name), "baseUrl"), entry.get("baseUrl") if isinstance(entry, dict) else None
            )
        listener = self.values.get("listener")
        if not isinstance(listener, dict):
            return
        url = listener.get("url")
        if listener.get("kind") == "local" and self.is_production:
            self.add(
                ("listener", "kind"),
                f"{NAMESPACE}:listener.kind is local, but ThingSpace cannot reach a process on this machine",
                "Use kind: kubernetes or external. For development, set thingspace:baseUrl to the emulator's URL.",
            )
        if not isinstance(url, str):
            return
        if url.startswith("http://") and self.is_production:
            message = (
                f"{NAMESPACE}:listener.url is plain http, without encryption of messages and the callback password"
            )
            self.add(("listener", "url"), message, "Use https:// and a certificate of a public CA.")

    def _check_base_url(self, path: tuple[str, ...], url: Any) -> None:
        if not isinstance(url, str) or not url:
            return
        try:
            Credentials("", "", "", "", url)
        except InvalidSetting as error:
            self.add(path, f"{NAMESPACE}:{'.'.join(path)}: {error.detail}", error.hint)
            return
        if url.startswith("http://") and self.is_production:
            message = f"{NAMESPACE}:{'.'.join(path)} is plain http in a production stack"
            self.add(path, message, f"Remove it, or set {PRODUCTION_BASE_URL}.")


def _describe_unquoted_account(written: str, value: Any) -> tuple[str, str]:
    """Return what is wrong with an account name that the engine does not read as text, and the fix."""
    if not written.isdecimal() or written.startswith("0") or len(written) >= ACCOUNT_DIGITS:
        is_changed = isinstance(value, int) and not isinstance(value, bool) and written != str(value)
        reading = f"as {value}" if is_changed else "as a number or another value"
        return f"{written} is not quoted: the engine reads it {reading}", f'Write "{written}".'
    # The engine writes numbers back in decimal. A number with a leading zero is octal, unless it has an 8 or a 9.
    names = [f"{value:0{ACCOUNT_DIGITS}d}"] if {"8", "9"} & set(written) else []
    names += [f"{value:0{ACCOUNT_DIGITS}o}"]
    return (
        f"{written} is a number. A Pulumi command may have written it in place of a name with leading zeros, unquoted",
        f"Look up the account name and quote it. It can be {' or '.join(map(json.dumps, names))}.",
    )


def _plain_scalars(node: yaml.Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], yaml.Node]]:
    """Yield the values in a map or list that have neither quotes nor a tag, with their paths."""
    items: Iterable[tuple[str | int, yaml.Node]] = ()
    if isinstance(node, yaml.MappingNode):
        items = ((key.value, value) for key, value in mapping_items(node))
    elif isinstance(node, yaml.SequenceNode):
        items = enumerate(node.value)
    for part, child in items:
        if child.tag == PLAIN and child.value:
            yield (*path, part), child
        yield from _plain_scalars(child, (*path, part))


class _LintConverter(NodeConverter):
    """Converts nodes that the engine rejects, and encrypted values, to UNKNOWN."""

    def __init__(self, on_finding: Callable[[yaml.Node, str, str], None]) -> None:
        super().__init__()
        self._on_finding = on_finding

    def on_invalid(self, node: yaml.Node) -> Any:
        self._on_finding(node, "the engine cannot read this value", 'Quote it, for example "2026-03-01".')
        return UNKNOWN

    def on_secret(self, node: yaml.Node, ciphertext: str) -> Any:
        if not CIPHERTEXT.fullmatch(ciphertext):
            self._on_finding(node, "the value of secure is not encrypted", "Set it with `pulumi config set --secret`.")
        return UNKNOWN


def _account_conflicts(files: list[StackFile]) -> Iterator[Finding]:
    """Yield accounts that two stacks register at the same base URL. Each would replace the other's registration."""
    first: dict[tuple[str, str], StackFile] = {}
    for file in files:
        accounts = file.values.get("accounts")
        for index, account in enumerate(accounts if isinstance(accounts, list) else ()):
            if not isinstance(account, str) or not isinstance(file.base_url, str):
                continue
            other = first.setdefault((file.base_url, account), file)
            if other is not file:
                message = f"account {account} is in {other.path} too, but ThingSpace keeps one registration per account"
                position = find_position(file.config, (f"{NAMESPACE}:accounts", index)) or Position()
                yield Finding(str(file.path), position, message, "Remove it from one of the two stacks.")
