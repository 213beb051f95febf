"""Building blocks of the folders' settings. No error repeats a value, because it can be a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from thingspace_provider.common.urls import MIN_TOKEN_LENGTH

UNENCODABLE = re.compile("[\0\ud800-\udfff]")  # bytes of the environment that are not UTF-8 become surrogates


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
        """Return the metadata of a field. A field of a sink can be without."""
        return next((item for item in field.metadata if isinstance(item, cls)), cls(""))


class SettingsModel(BaseModel):
    """Settings of one folder. The keys of a settings file are its field names in camel case."""

    variable_prefix: ClassVar[str] = "THINGSPACE_LISTENER_"

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True, strict=True
    )

    @classmethod
    def variable_of(cls, field_name: str) -> str:
        """Return the environment variable of a field."""
        return f"{cls.variable_prefix}{field_name.upper()}"

    @model_validator(mode="before")
    @classmethod
    def _without_unset(cls, values: object) -> object:
        """Return the values that are not empty, under keys that are text: YAML reads a key `on` as true."""
        if not isinstance(values, dict):
            return values
        return {str(key): value for key, value in values.items() if value not in (None, "", [])}


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


def matches(pattern: str, message: str) -> AfterValidator:
    """Return a validator that raises InvalidValue with the message if the pattern does not match."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise InvalidValue(message)
        return text

    return AfterValidator(check)


Text = Annotated[str, AfterValidator(check_encodable)]
Secret = Annotated[Text, Field(repr=False)]
Token = Annotated[
    Secret,
    matches(
        rf"[A-Za-z0-9_~.-]{{{MIN_TOKEN_LENGTH},200}}",  # a shorter one would not be masked
        "must be 16 to 200 letters, digits, '-', '_', '.' or '~', so that it fits a URL unchanged",
    ),
]


def describe_type(value: object) -> str:
    """Return the type of a value in the words of a settings file."""
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else type(value).__name__
