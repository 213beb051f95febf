"""YAML as Pulumi's engine reads it, which is YAML 1.2 with merges.

PyYAML reads YAML 1.1: there `yes` is true, 1:30 is ninety, 1e3 a text and 2026-03-01 a date. So only its nodes are
used. A date stays text here: nothing of ours needs to know how the engine spells it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import yaml

PLAIN = "?"  # YAML's own name for the tag of what has neither quotes nor a tag
TAGS = "tag:yaml.org,2002:"
KEYWORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|(0[0-7]+)|0|[1-9][0-9]{0,19})")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
INTEGERS = range(-(2**63), 2**63)  # beyond them a decimal number is a float, and one of another base is text
TYPES: dict[str, tuple[type, ...]] = {
    f"{TAGS}int": (int,),
    f"{TAGS}float": (int, float),
    f"{TAGS}bool": (bool,),
    f"{TAGS}null": (type(None),),
}
SECURE = "secure"
MAX_ALIAS_BYTES = 100_000  # bytes and values that aliases may add to those of the text ...
MAX_ALIAS_RATIO = 10  # ... and how often they may repeat it: the engine refuses such files too


class PulumiYamlLoader(yaml.SafeLoader):
    """Composes nodes, and refuses what the engine refuses to read: with an error, as for any other bad YAML."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._max_size = MAX_ALIAS_BYTES + MAX_ALIAS_RATIO * len(text)
        self._sizes: dict[yaml.Node, int] = {}

    def fetch_more_tokens(self) -> None:
        """What is no character and no number to Python ends in errors that PyYAML does not expect."""
        try:
            super().fetch_more_tokens()
        except (ValueError, OverflowError):
            mark = self.get_mark()
            raise yaml.scanner.ScannerError(None, None, "there is no such character or number", mark) from None

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """The tag of a node without one."""
        if kind is yaml.ScalarNode and implicit[0]:
            return PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, or the one that an alias stands for."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if node.end_mark is None:
            raise yaml.composer.ComposerError(None, None, "an alias stands inside of what it stands for", mark)
        if node not in self._sizes:
            try:
                self._sizes[node] = 1 + self._content_size(node)
            except UnicodeEncodeError:
                raise yaml.composer.ComposerError(None, None, "half a character is no text", mark) from None
        if self._sizes[node] > self._max_size:
            raise yaml.composer.ComposerError(None, None, "aliases make far too much of this", mark)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.composer.ComposerError(None, None, "a list or a map is no key", key.start_mark)
                if is_merge(key) and not all(isinstance(source, yaml.MappingNode) for source in _merge_sources(value)):
                    raise yaml.composer.ComposerError(None, None, "<< takes a map or a list of maps", key.start_mark)
        return node

    def _content_size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return len(node.value.encode())
        children = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        return sum(self._sizes[child] for child in children)


def is_merge(key: yaml.Node) -> bool:
    """Whether a key is `<<`, which takes over the entries of other maps."""
    return key.tag == f"{TAGS}merge" or (key.tag == PLAIN and key.value == "<<")


def mapping_items(node: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """The keys and values of a map, merged ones after its own, which win; nothing for what is no map."""
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
    """What stands behind `<<`; the first that has a key wins."""
    return list(merged.value) if isinstance(merged, yaml.SequenceNode) else [merged]


class NodeConverter:
    """Nodes as values: what an alias stands for is read once, and is the same object wherever it stands."""

    def __init__(self) -> None:
        self._converted: dict[yaml.Node, Any] = {}

    def value(self, node: yaml.Node) -> Any:
        """The value of a node, keys of maps as text."""
        if node not in self._converted:
            try:
                self._converted[node] = self._convert(node)
            except ValueError:
                self._converted[node] = self.on_invalid(node)
        return self._converted[node]

    def on_invalid(self, node: yaml.Node) -> Any:
        """What to take for a node that the engine refuses. Raises ValueError unless a subclass knows better."""
        raise ValueError(node.tag)

    def on_secret(self, node: yaml.Node, ciphertext: str) -> Any:  # noqa: ARG002
        """What to take for `{secure: ciphertext}`."""
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
    """The text, number, boolean or None that a scalar stands for. Raises ValueError for what the engine refuses."""
    text = str(node.value)
    if node.tag == f"{TAGS}str":
        return text
    value = _parse_plain(text)
    if node.tag == PLAIN or type(value) in TYPES.get(node.tag, ()):
        return value
    raise ValueError(node.tag)


def to_config_string(value: Any) -> str:
    """A scalar as the engine hands it to a program, and as the key of a map."""
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
        return int(number) if number.is_integer() and int(number) in INTEGERS else number  # on its way it is JSON
    return text
