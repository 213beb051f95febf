"""Building blocks of the folders' settings. No error repeats a value, because it can be a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from thingspace_provider.common.urls import MIN_TOKEN_LENGTH

UNENCODABLE = re.compile("[\0\ud800-\udfff]")  # bytes of the environment that are not UTF-8 become surrogates
TOKEN_PATTERN = re.compile(rf"[A-Za-z0-9_~.-]{{{MIN_TOKEN_LENGTH},200}}")  # a shorter one would not be masked


class InvalidValue(ValueError):
    """A value is invalid. The text tells why without the value."""


class InvalidSettings(Exception):
    """Settings are invalid; `errors` has one sentence for each error."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(errors)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(self.errors)


@dataclass(frozen=True)
class Setting:
    """Metadata of a setting.

    Args:
        example: a value as JSON or in prose.
        parse_variable: converts the text of the environment variable to what a settings file would hold.
    """

    example: str
    parse_variable: Callable[[str], object] = str

    @classmethod
    def of(cls, field: FieldInfo) -> Setting:
        """Return the metadata of a field."""
        return next(item for item in field.metadata if isinstance(item, cls))


class SettingsModel(BaseModel):
    """Settings of one folder. The keys of a settings file are its field names in camel case.

    The environment variable of a field is the prefix and its name in upper case.
    """

    variable_prefix: ClassVar[str] = "THINGSPACE_LISTENER_"

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True, strict=True
    )


def parse_json(text: str) -> object:
    """Return the JSON value, or the text itself, which validation then rejects as the wrong type."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def split_commas(text: str) -> list[str]:
    """Return the items of a list."""
    return text.split(",")


def check_encodable(text: str) -> str:
    """Return the text. Raises InvalidValue if it cannot be sent or stored."""
    if UNENCODABLE.search(text):
        raise InvalidValue("must be UTF-8 text without NUL")
    return text


def check_token(text: str) -> str:
    """Return the token. Raises InvalidValue if a URL would change it or it is too short to be secret."""
    if not TOKEN_PATTERN.fullmatch(text):
        raise InvalidValue("must be 16 to 200 letters, digits, '-', '_', '.' or '~', so that it fits a URL unchanged")
    return text


Text = Annotated[str, AfterValidator(check_encodable)]
Secret = Annotated[Text, Field(repr=False)]
Token = Annotated[Secret, AfterValidator(check_token)]


def describe_type(value: object) -> str:
    """Return the type of a value in the words of a settings file."""
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else type(value).__name__


def parse_text(value: object) -> str:
    """Return a string that can be sent and stored. Raises InvalidValue."""
    if not isinstance(value, str):
        raise InvalidValue(f"must be text, not {describe_type(value)}: quote it")
    return check_encodable(value)


def parse_int(value: object, min_value: int, max_value: int) -> int:
    """Return a whole number in a range. Raises InvalidValue."""
    if isinstance(value, bool) or not isinstance(value, int) or not min_value <= value <= max_value:
        raise InvalidValue(f"must be a number from {min_value} to {max_value}")
    return value
