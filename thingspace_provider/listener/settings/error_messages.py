"""Messages for invalid settings: each names the setting, its origin and an example, and never its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.alias_generators import to_snake
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from thingspace_provider.common.suggestions import did_you_mean
from thingspace_provider.listener.setting_types import Setting, SettingsModel, describe_type


def format_error(model: type[BaseModel], error: ErrorDetails, origins: Mapping[str, str]) -> str:
    """Return one sentence for an error of pydantic. `origins` has where each setting comes from."""
    keys = [part for part in error["loc"] if isinstance(part, str)]  # other parts are positions in a list
    name = ".".join(keys)
    origin = origins.get(name) or origins.get(keys[0], "")
    subject = f"{name} ({origin})" if origin else name
    fields = _fields_by_key(model)
    for key in keys[:-1]:
        fields = _fields_by_key(fields[key].annotation)
    if error["type"] == "extra_forbidden":
        return f"{subject} is not a setting: {did_you_mean(keys[-1], fields)}"
    setting = Setting.of(fields[keys[-1]])
    if error["type"] == "missing":
        state = f"empty ({origin})" if origin else "not set"
        variable = f"{SettingsModel.variable_prefix}{to_snake(name).upper()}"
        return (
            f"{name} is {state}: set {name} in the settings file or {variable} in the environment. "
            f"Example: {setting.example}"
        )
    return f"{subject}: {_describe(error, fields[keys[-1]])}. Example: {setting.example}"


def _fields_by_key(model: Any) -> dict[str, FieldInfo]:
    return {str(field.alias): field for field in model.model_fields.values()}


def _describe(error: ErrorDetails, field: FieldInfo) -> str:
    given = describe_type(error["input"])
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type":
            return f"must be text, not {given}: quote it"
        case "tuple_type":
            return f"must be a list, not {given}"
        case "model_type":
            return f"must be a mapping, not {given}"
        case "literal_error":
            return f"must be one of {error['ctx']['expected']}".replace("'", "").replace(" or ", ", ")
    limits = {type(item): item for item in field.metadata if isinstance(item, Ge | Le)}
    if len(limits) == len((Ge, Le)):
        kind = "a whole number" if field.annotation is int else "a number"
        return f"must be {kind} from {limits[Ge].ge:g} to {limits[Le].le:g}"  # type: ignore[union-attr]
    return error["msg"]
