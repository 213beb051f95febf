"""Positions of keys and values in a YAML file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from thingspace_provider.config.pulumi_yaml import PulumiYamlLoader, mapping_items

# PyYAML quotes parts of the file, perhaps of a password. Keep only single characters and token names.
QUOTED = re.compile(r"'(?!<|\\.'|\\x..')[^']{2,}'")
TAB = "\\t"


@dataclass(frozen=True, order=True)
class Position:
    """Line and column, counted from 1."""

    line: int = 1
    column: int = 1


class YamlSyntaxError(Exception):
    """The file is not valid YAML. Has the position of the error and a fix."""

    def __init__(
        self, position: Position, message: str, fix: str = "Correct the line, or the end of the one before it."
    ) -> None:
        super().__init__(message)
        self.position = position
        self.fix = fix


def compose_file(path: Path) -> yaml.Node | None:
    """Compose the only document of a file, or None if it is empty. Raises YamlSyntaxError and OSError."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        return yaml.compose(text, Loader=PulumiYamlLoader)
    except UnicodeDecodeError as error:
        position = _position_after(content[: error.start].decode("utf-8", "replace"))
        raise YamlSyntaxError(position, "the file is not UTF-8", "Save the file as UTF-8.") from None
    except yaml.reader.ReaderError as error:
        position = _position_after(text[: error.position])
        raise YamlSyntaxError(
            position, f"the character {error.character:#x} is not allowed in YAML", "Remove it."
        ) from None
    except yaml.MarkedYAMLError as error:
        message = QUOTED.sub("'***'", str(error.problem or error.context or "the file is not YAML"))
        position = to_position(error.problem_mark) if error.problem_mark else Position()
        if TAB in message:
            raise YamlSyntaxError(position, "a tab cannot indent in YAML", "Use spaces.") from None
        raise YamlSyntaxError(position, message) from None
    except RecursionError:
        raise YamlSyntaxError(Position(), "the file is nested too deeply") from None


def to_position(mark: yaml.Mark) -> Position:
    """Convert a mark of PyYAML, which counts from 0."""
    return Position(mark.line + 1, mark.column + 1)


def find_duplicate_keys(root: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.ScalarNode]]:
    """Yield each duplicate key of a map with its first occurrence."""
    seen: set[yaml.Node] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, yaml.SequenceNode):
            pending.extend(node.value)
        first_keys: dict[str, yaml.ScalarNode] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            pending.append(value)
            if first_keys.setdefault(key.value, key) is not key:
                yield key, first_keys[key.value]


def find_position(node: yaml.Node | None, path: tuple[str | int, ...]) -> Position | None:
    """Return the position of a key or list item; for a missing one, that of its parent."""
    position = None
    for part in path:
        key, node = _find_child(node, part)
        if key is None:
            break
        position = to_position(key.start_mark)
    return position


def _find_child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return next(((key, value) for key, value in mapping_items(node) if key.value == part), (None, None))


def _position_after(before: str) -> Position:
    """Return the position after some text."""
    lines = before.split("\n")
    return Position(len(lines), len(lines[-1]) + 1)
