"""Settings file in JSON or YAML. Errors never repeat its content, because it holds secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from thingspace_provider.listener.setting_types import InvalidSettings

MAX_NUMBER_BITS = 64  # Python raises an error when it formats an integer of more than 4300 digits


def read_settings_file(path: Path | None) -> dict[str, Any]:
    """Return the mapping in the file; without a file an empty one.

    Raises InvalidSettings when the file cannot be read or is neither JSON nor YAML.
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
    return {str(key): value for key, value in document.items()}


def _parse(content: str, path: Path) -> object:
    """Parse JSON if the content begins like JSON, else YAML. Errors have the position and not the content."""
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
            position += ": quote it if it is text"
    except RecursionError:
        position = "depth"
    except ValueError:
        position = "a number is too long"
    raise InvalidSettings([f"settings file {path} is not valid {language} ({position})"])


class InvalidYamlValue(yaml.MarkedYAMLError):
    """A value does not match its form or tag, for example 2026-13-45, which looks like a date."""


class SettingsYamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader with positions in the errors of Python's own conversions."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value. Raises InvalidYamlValue."""
        try:
            value = super().construct_object(node, deep)
            return _parse_bounded_int(value) if type(value) is int else value
        except (ValueError, LookupError, AttributeError):
            raise InvalidYamlValue(problem_mark=node.start_mark) from None


def _parse_bounded_int(value: str | int) -> int:
    """Return a number that can be formatted. Raises ValueError."""
    number = int(value)
    if number.bit_length() > MAX_NUMBER_BITS:
        raise ValueError
    return number
