"""Reads a settings file, JSON or YAML, without ever repeating its content: it holds secrets."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import yaml


class BadSettings(Exception):
    """Settings that cannot be used; `problems` has one sentence for each thing to correct."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def read_file(file: Path | None, known: list[str]) -> dict[str, Any]:
    """The mapping in the file, or an empty one without a file.

    Raises BadSettings when it cannot be read, is neither JSON nor YAML, or has a key that is not `known`.
    """
    if file is None:
        return {}
    try:
        content = file.read_text(encoding="utf-8")
    except OSError as reason:
        raise BadSettings([f"settings file {file} cannot be read: {reason.strerror}"]) from None
    except UnicodeDecodeError:
        raise BadSettings([f"settings file {file} is not UTF-8 text"]) from None
    document = _parsed(content, file)
    if not isinstance(document, dict):
        raise BadSettings([f'settings file {file} must hold a mapping of keys, as {{"accounts": […]}}'])
    problems = [_unknown(str(key), file, known) for key in document if key not in known]
    if problems:
        raise BadSettings(problems)
    return document


def _parsed(content: str, file: Path) -> object:
    """JSON when it begins like JSON, else YAML; both say where they failed, not what stands there."""
    try:
        return json.loads(content) if content.lstrip().startswith("{") else yaml.safe_load(content)
    except (json.JSONDecodeError, RecursionError) as reason:
        where = f"line {reason.lineno}, column {reason.colno}" if isinstance(reason, json.JSONDecodeError) else "depth"
        raise BadSettings([f"settings file {file} is not valid JSON ({where})"]) from None
    except yaml.YAMLError as reason:
        mark = getattr(reason, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise BadSettings([f"settings file {file} is not valid YAML{where}"]) from None


def _unknown(key: str, file: Path, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{key} (settings file {file}) is not a setting: {meant}"
