"""Building blocks of OpenAPI 3.1 documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}


def object_schema(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """Build the schema of an object."""
    return {"type": "object", "properties": properties, "required": list(required)}


def closed_object_schema(**properties: Schema) -> Schema:
    """Build the schema of an object with exactly these properties."""
    return {**object_schema(list(properties), **properties), "additionalProperties": False}


def array_schema(items: Schema) -> Schema:
    """Build the schema of a list."""
    return {"type": "array", "items": items}


DEVICE_ID = closed_object_schema(kind=STRING, id=STRING)


def build_document(title: str, url: str, paths: dict[str, Schema]) -> Schema:
    """Build an OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "application": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "header", "name": "VZ-M2M-Token"},
            }
        },
    }


def build_response(schema: Schema | None, description: str) -> Schema:
    """Build a response with a JSON body, or with none."""
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
