"""Messages for invalid settings: each names the setting, its origin and an example, and never its value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.alias_generators import to_snake
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from thingspace_provider.common.suggestions import did_you_mean
from thingspace_provider.listener.setting_types import Setting, SettingsModel, describe_type


def format_error(model: type[BaseModel], error: ErrorDetails, origins: Mapping[str, str]) -> str:
    """Return one sentence for an error of pydantic. `origins` has where each setting comes from."""
    name, example, models = "", "", [model]
    fields: dict[str, FieldInfo] = {}
    for previous, part in pairwise(("", *error["loc"])):
        if isinstance(part, int):
            name += f"[{part}]"
        elif isinstance(previous, int):  # not a key: the kind of the sink, by which pydantic has selected its model
            models = [model for model in models if part in _kinds(model)]
        else:
            name += f".{part}" if name else part
            fields = {str(field.alias): field for model in models for field in model.model_fields.values()}
            if part in fields:
                models = _models(fields[part].annotation)
                example = Setting.of(fields[part]).example or example
                key = part
    origin = origins.get(name) or origins.get(str(error["loc"][0]), "")
    subject = f"{name} ({origin})" if origin else name
    if error["type"] == "extra_forbidden":
        return f"{subject} is not a setting: {did_you_mean(str(error['loc'][-1]), fields)}"
    if error["type"] == "missing" and name in fields:
        state = f"empty ({origin})" if origin else "not set"
        variable = SettingsModel.variable_of(to_snake(name))
        return (
            f"{name} is {state}: set {name} in the settings file or {variable} in the environment. Example: {example}"
        )
    if error["type"].startswith("union_tag"):
        detail = f"kind must be one of {', '.join(kind for model in models for kind in _kinds(model))}"
    else:
        detail = _describe(error, fields[key])
    return f"{subject}: {detail}. Example: {example}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in a type, for example both of `tuple[A | B, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["kind"].annotation)


def _describe(error: ErrorDetails, field: FieldInfo) -> str:
    given = describe_type(error["input"])
    match error["type"]:
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type":
            return f"must be text, not {given}: quote it"
        case "tuple_type":
            return f"must be a list, not {given}"
        case "too_long":
            return f"must have at most {error['ctx']['max_length']} items"
        case "missing":
            return "must be set"
        case "model_type" | "model_attributes_type":
            return f"must be a mapping, not {given}"
        case "literal_error":
            return f"must be one of {error['ctx']['expected']}".replace("'", "").replace(" or ", ", ")
    limits = {type(item): item for item in field.metadata if isinstance(item, Ge | Le)}
    if len(limits) == len((Ge, Le)):
        kind = "a whole number" if field.annotation is int else "a number"
        return f"must be {kind} from {limits[Ge].ge:g} to {limits[Le].le:g}"  # type: ignore[union-attr]
    return error["msg"]
