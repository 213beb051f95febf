"""YAML as Pulumi's engine reads it: YAML 1.2 with merges.

PyYAML implements YAML 1.1, where `yes` is true, 1:30 is 90, 1e3 is text and 2026-03-01 is a date. So this module uses
only the nodes of PyYAML and resolves scalars itself. A date stays text, because no key of a stack file is a date.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import yaml

PLAIN = "?"  # YAML's non-specific tag: a scalar with neither quotes nor a tag
TAGS = "tag:yaml.org,2002:"
KEYWORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|(0[0-7]+)|0|[1-9][0-9]{0,19})")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
INTEGERS = range(-(2**63), 2**63)  # beyond, a decimal number is a float and a number of another base is text
TYPES: dict[str, tuple[type, ...]] = {
    f"{TAGS}int": (int,),
    f"{TAGS}float": (int, float),
    f"{TAGS}bool": (bool,),
    f"{TAGS}null": (type(None),),
}
SECURE = "secure"
# Limits of the size that aliases may add to a file. The engine rejects such files too.
MAX_ALIAS_BYTES = 100_000
MAX_ALIAS_RATIO = 10  # times the size of the file


class PulumiYamlLoader(yaml.SafeLoader):
    """Composes nodes. Raises YAMLError for all files that the engine rejects."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._max_size = MAX_ALIAS_BYTES + MAX_ALIAS_RATIO * len(text)
        self._sizes: dict[yaml.Node, int] = {}

    def fetch_more_tokens(self) -> None:
        """Fetch tokens. Converts Python's errors for impossible characters and numbers to YAMLError."""
        try:
            super().fetch_more_tokens()
        except (ValueError, OverflowError):
            mark = self.get_mark()
            raise yaml.scanner.ScannerError(None, None, "no such character or number exists", mark) from None

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Return the tag of a node that has none."""
        if kind is yaml.ScalarNode and implicit[0]:
            return PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, or return the target of an alias."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if node.end_mark is None:
            raise yaml.composer.ComposerError(None, None, "an alias is inside its own target", mark)
        if node not in self._sizes:
            try:
                self._sizes[node] = 1 + self._content_size(node)
            except UnicodeEncodeError:
                raise yaml.composer.ComposerError(None, None, "a lone surrogate is not a character", mark) from None
        if self._sizes[node] > self._max_size:
            raise yaml.composer.ComposerError(None, None, "aliases expand to too much data", mark)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.composer.ComposerError(None, None, "a list or a map cannot be a key", key.start_mark)
                if is_merge(key) and not all(isinstance(source, yaml.MappingNode) for source in _merge_sources(value)):
                    raise yaml.composer.ComposerError(None, None, "<< must be a map or a list of maps", key.start_mark)
        return node

    def _content_size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return len(node.value.encode())
        children = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        return sum(self._sizes[child] for child in children)


def is_merge(key: yaml.Node) -> bool:
    """Return whether a key is `<<`, which merges the entries of other maps."""
    return key.tag == f"{TAGS}merge" or (key.tag == PLAIN and key.value == "<<")


def mapping_items(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield the keys and values of a map: its own, then merged ones. Yields nothing for another node."""
    if not isinstance(node, yaml.MappingNode):
        return
    own = [(key, value) for key, value in node.value if not is_merge(key)]
    yield from own
    seen_keys = {key.value for key, _ in own}
    for source in (source for key, value in node.value if is_merge(key) for source in _merge_sources(value)):
        for key, value in mapping_items(source):
            if key.value not in seen_keys:
                seen_keys.add(key.value)
                yield key, value


def _merge_sources(merged: yaml.Node) -> list[yaml.Node]:
    """Return the maps of a `<<`. The first one with a key wins."""
    return list(merged.value) if isinstance(merged, yaml.SequenceNode) else [merged]


class NodeConverter:
    """Converts nodes to values. The target of an alias is converted once, to one shared object."""

    def __init__(self) -> None:
        self._converted: dict[yaml.Node, Any] = {}

    def value(self, node: yaml.Node) -> Any:
        """Convert a node. Keys of maps become text."""
        if node not in self._converted:
            try:
                self._converted[node] = self._convert(node)
            except ValueError:
                self._converted[node] = self.on_invalid(node)
        return self._converted[node]

    def on_invalid(self, node: yaml.Node) -> Any:
        """Return the value of a node that the engine rejects. Raises ValueError unless overridden."""
        raise ValueError(node.tag)

    def on_secret(self, node: yaml.Node, ciphertext: str) -> Any:  # noqa: ARG002
        """Return the value of `{secure: ciphertext}`."""
        return {SECURE: ciphertext}

    def _convert(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return parse_scalar(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAGS}seq":
            return [self.value(item) for item in node.value]
        if node.tag != f"{TAGS}map":
            raise ValueError(node.tag)
        given = {to_config_string(parse_scalar(key)): self.value(item) for key, item in mapping_items(node)}
        ciphertext = given.get(SECURE)
        return self.on_secret(node, ciphertext) if len(given) == 1 and isinstance(ciphertext, str) else given


def parse_scalar(node: yaml.ScalarNode) -> Any:
    """Parse a scalar to text, a number, a boolean or None. Raises ValueError if the engine rejects it."""
    text = str(node.value)
    if node.tag == f"{TAGS}str":
        return text
    value = _parse_plain(text)
    if node.tag == PLAIN or type(value) in TYPES.get(node.tag, ()):
        return value
    raise ValueError(node.tag)


def to_config_string(value: Any) -> str:
    """Convert a scalar to the text that the engine passes to a program, or to the key of a map."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _parse_plain(text: str) -> Any:
    if text in KEYWORDS:
        return KEYWORDS[text]
    if NON_FINITE.fullmatch(text):
        raise ValueError(text)
    bare = text.replace("_", "") if text[0] in "+-.0123456789" else ""
    if match := INTEGER.fullmatch(bare):
        sign, digits, octal = match.groups()
        integer = int(sign + (f"0o{octal}" if octal else digits), 0)
        if integer in INTEGERS:
            return integer
    if FLOAT.fullmatch(bare) and math.isfinite(number := float(bare)):
        return int(number) if number.is_integer() and int(number) in INTEGERS else number  # the engine sends JSON
    return text
