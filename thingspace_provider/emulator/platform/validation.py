"""Validation of JSON and YAML input with pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class StrictModel(BaseModel):
    """JSON object with camelCase keys. Rejects undeclared keys and converts no value to another type."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_keys(cls, value: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if isinstance(value, dict) and (unknown := [str(key) for key in value if key not in known]):
            raise ValueError(f"unknown key {', '.join(unknown)}; known keys: {', '.join(known)}")
        return value


def describe_errors(error: ValidationError) -> str:
    """Describe every error as `path: reason`, such as `accounts[0].name: input should be a valid string`.

    The values are left out: they may be secret.
    """
    return "; ".join(_describe(item) for item in error.errors(include_url=False))


def _describe(error: ErrorDetails) -> str:
    keys = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"] if part != "[key]")
    path = "".join(keys).removeprefix(".")
    reason = error["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    if error["type"] == "string_type" and isinstance(error["input"], (bool, int, float)):
        reason += ", in quotes"
    return f"{path}: {reason}" if path else reason
