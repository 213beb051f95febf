"""Reads a settings file, JSON or YAML, without ever repeating its content: it holds secrets."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import yaml

LONGEST_NUMBER = 64  # bits: from some thousand digits on Python itself refuses to show one


class InvalidSettings(Exception):
    """Settings that cannot be used; `problems` has one sentence for each thing to correct."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.errors = problems

    def __str__(self) -> str:
        return "\n".join(self.errors)


def read_file(file: Path | None, known: list[str]) -> dict[str, Any]:
    """The mapping in the file, or an empty one without a file.

    Raises BadSettings when it cannot be read, is neither JSON nor YAML, or has a key that is not `known`.
    """
    if file is None:
        return {}
    try:
        content = file.read_text(encoding="utf-8")
    except OSError as reason:
        raise InvalidSettings([f"settings file {file} cannot be read: {reason.strerror}"]) from None
    except UnicodeDecodeError:
        raise InvalidSettings([f"settings file {file} is not UTF-8 text"]) from None
    document = _parsed(content, file)
    if not isinstance(document, dict):
        raise InvalidSettings([f'settings file {file} must hold a mapping of keys, as {{"accounts": […]}}'])
    problems = [_unknown(str(key), file, known) for key in document if key not in known]
    if problems:
        raise InvalidSettings(problems)
    return document


def _parsed(content: str, file: Path) -> object:
    """JSON when it begins like JSON, else YAML; both say where they failed, not what stands there."""
    language = "JSON" if content.lstrip().startswith("{") else "YAML"
    try:
        return json.loads(content, parse_int=_whole) if language == "JSON" else yaml.load(content, SettingsYamlLoader)  # noqa: S506  a safe one
    except json.JSONDecodeError as reason:
        where = f"line {reason.lineno}, column {reason.colno}"
    except yaml.YAMLError as reason:
        mark = getattr(reason, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "its characters"
        if isinstance(reason, InvalidYamlValue):
            where += ": quote it, if it is to be text"
    except RecursionError:
        where = "depth"
    except ValueError:
        where = "a number is too long"
    raise InvalidSettings([f"settings file {file} is not valid {language} ({where})"])


class InvalidYamlValue(yaml.MarkedYAMLError):
    """A value is not what its form or tag promises, as 2026-13-45, which looks like a day."""


class SettingsYamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also says where such a value stands."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As the base, which lets the errors of Python's own conversions through. Raises Unfit."""
        try:
            value = super().construct_object(node, deep)
            return _whole(value) if type(value) is int else value
        except (ValueError, LookupError, AttributeError):
            raise InvalidYamlValue(problem_mark=node.start_mark) from None


def _whole(value: str | int) -> int:
    """A number that can be shown. Raises ValueError."""
    number = int(value)
    if number.bit_length() > LONGEST_NUMBER:
        raise ValueError
    return number


def _unknown(key: str, file: Path, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{key} (settings file {file}) is not a setting: {meant}"
