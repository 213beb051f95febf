"""Reads a settings file, JSON or YAML, without ever repeating its content: it holds secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.common.suggestions import did_you_mean

MAX_NUMBER_BITS = 64  # bits: from some thousand digits on Python itself refuses to show one


class InvalidSettings(Exception):
    """Settings that cannot be used; `problems` has one sentence for each thing to correct."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(self.errors)


def read_settings_file(path: Path | None, known: list[str]) -> dict[str, Any]:
    """The mapping in the file, or an empty one without a file.

    Raises BadSettings when it cannot be read, is neither JSON nor YAML, or has a key that is not `known`.
    """
    if path is None:
        return {}
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidSettings([f"settings file {path} cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise InvalidSettings([f"settings file {path} is not UTF-8 text"]) from None
    document = _parse(content, path)
    if not isinstance(document, dict):
        raise InvalidSettings([f'settings file {path} must hold a mapping of keys, as {{"accounts": […]}}'])
    errors = [_unknown_key_error(str(key), path, known) for key in document if key not in known]
    if errors:
        raise InvalidSettings(errors)
    return document


def _parse(content: str, path: Path) -> object:
    """JSON when it begins like JSON, else YAML; both say where they failed, not what stands there."""
    language = "JSON" if content.lstrip().startswith("{") else "YAML"
    try:
        return (
            json.loads(content, parse_int=_parse_bounded_int)
            if language == "JSON"
            else yaml.load(content, SettingsYamlLoader)  # noqa: S506  a safe one
        )
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "its characters"
        if isinstance(error, InvalidYamlValue):
            position += ": quote it, if it is to be text"
    except RecursionError:
        position = "depth"
    except ValueError:
        position = "a number is too long"
    raise InvalidSettings([f"settings file {path} is not valid {language} ({position})"])


class InvalidYamlValue(yaml.MarkedYAMLError):
    """A value is not what its form or tag promises, as 2026-13-45, which looks like a day."""


class SettingsYamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also says where such a value stands."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As the base, which lets the errors of Python's own conversions through. Raises Unfit."""
        try:
            value = super().construct_object(node, deep)
            return _parse_bounded_int(value) if type(value) is int else value
        except (ValueError, LookupError, AttributeError):
            raise InvalidYamlValue(problem_mark=node.start_mark) from None


def _parse_bounded_int(value: str | int) -> int:
    """A number that can be shown. Raises ValueError."""
    number = int(value)
    if number.bit_length() > MAX_NUMBER_BITS:
        raise ValueError
    return number


def _unknown_key_error(key: str, path: Path, known: list[str]) -> str:
    return f"{key} (settings file {path}) is not a setting: {did_you_mean(key, known)}"
