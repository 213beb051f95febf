"""YAML with the place of every key: what a value's mistake needs to be found by a person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from thingspace_provider.config.pulumi_yaml import Loader, entries

# What PyYAML quotes of a file may be part of a password: only single characters and names of tokens are shown.
QUOTED = re.compile(r"'(?!<|\\.'|\\x..')[^']{2,}'")
TAB = "\\t"


@dataclass(frozen=True, order=True)
class Place:
    """Line and column, both from 1."""

    line: int = 1
    column: int = 1


class NotYaml(Exception):
    """A file cannot be read as YAML; `place` is where reading ended, the text why, `fix` what to do."""

    def __init__(
        self, place: Place, what: str, fix: str = "Correct the line, or the end of the one before it."
    ) -> None:
        super().__init__(what)
        self.place = place
        self.fix = fix


def composed(path: Path) -> yaml.Node | None:
    """The file's only document as nodes, or None when it is empty. Raises NotYaml, OSError."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        return yaml.compose(text, Loader=Loader)
    except UnicodeDecodeError as error:
        place = _place_of(content[: error.start].decode("utf-8", "replace"))
        raise NotYaml(place, "this is not UTF-8", "Save the file as UTF-8.") from None
    except yaml.reader.ReaderError as error:
        place = _place_of(text[: error.position])
        raise NotYaml(place, f"the character {error.character:#x} is not allowed in YAML", "Remove it.") from None
    except yaml.MarkedYAMLError as error:
        what = QUOTED.sub("'***'", str(error.problem or error.context or "this is not YAML"))
        place = place_of(error.problem_mark) if error.problem_mark else Place()
        if TAB in what:
            raise NotYaml(place, "a tab cannot indent in YAML", "Use spaces.") from None
        raise NotYaml(place, what) from None
    except RecursionError:
        raise NotYaml(Place(), "this is nested too deeply to be a stack file") from None


def place_of(mark: yaml.Mark) -> Place:
    """PyYAML counts from 0."""
    return Place(mark.line + 1, mark.column + 1)


def twice(root: yaml.Node | None) -> Iterator[tuple[yaml.ScalarNode, yaml.ScalarNode]]:
    """Keys that a map has had before, each with its first occurrence."""
    seen: set[yaml.Node] = set()
    left = [root]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, yaml.SequenceNode):
            left.extend(node.value)
        firsts: dict[str, yaml.ScalarNode] = {}
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            left.append(value)
            if firsts.setdefault(key.value, key) is not key:
                yield key, firsts[key.value]


def find(node: yaml.Node | None, path: tuple[str | int, ...]) -> Place | None:
    """Where a key, or an item of a list, stands; for what is missing, where it would stand."""
    place = None
    for part in path:
        key, node = _child(node, part)
        if key is None:
            break
        place = place_of(key.start_mark)
    return place


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return next(((key, value) for key, value in entries(node) if key.value == part), (None, None))


def _place_of(before: str) -> Place:
    """The place behind some text."""
    lines = before.split("\n")
    return Place(len(lines), len(lines[-1]) + 1)
