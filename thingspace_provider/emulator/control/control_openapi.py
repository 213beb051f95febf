"""OpenAPI 3.1 document of the control API. The requests come from the models that validate them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic.json_schema import models_json_schema

from thingspace_provider.emulator.control.endpoint import PREFIX, Endpoint
from thingspace_provider.emulator.control.requests import SWITCH_VALUES
from thingspace_provider.emulator.control.schemas import (
    BOOLEAN,
    DEVICE_ID,
    INTEGER,
    NUMBER,
    STRING,
    Schema,
    array_schema,
    build_document,
    build_response,
    closed_object_schema,
    object_schema,
)

REF_TEMPLATE = "#/components/schemas/{model}"
FAULT_RULE_STATUS = object_schema(
    ["id", "operation", "hits", "remaining"], id=INTEGER, operation=STRING, hits=INTEGER, remaining=INTEGER
)
CLOCK = closed_object_schema(now=STRING, seconds=NUMBER, frozen=BOOLEAN)
MAPPING: Schema = {"type": "object", "additionalProperties": STRING}
DEVICE = object_schema(
    ["deviceIds", "active", "reachable"], deviceIds=array_schema(DEVICE_ID), active=BOOLEAN, reachable=BOOLEAN
)
ACCOUNT = object_schema(
    ["accountName", "devices", "queued", "inFlight", "listeners", "droppedListeners"],
    accountName=STRING,
    queued=INTEGER,
    droppedListeners=array_schema(STRING),
)
USER = object_schema(["username", "failedLogins", "locked"], username=STRING)
USER_STATE = closed_object_schema(username=STRING, failedLogins=INTEGER, locked=BOOLEAN)

RESPONSES: dict[tuple[str, str], Schema] = {
    ("GET", "connection"): object_schema(
        ["url", "appKey", "appSecret", "username", "password", "accounts"], url=STRING
    ),
    ("POST", "messages"): closed_object_schema(accountName=STRING, number=INTEGER, count=INTEGER),
    ("GET", "queue"): closed_object_schema(count=INTEGER, inFlight=INTEGER, messages=array_schema({"type": "object"})),
    ("GET", "journal"): object_schema(
        ["calls", "deliveries", "counts", "outcomes"], calls=array_schema({"type": "object"})
    ),
    ("DELETE", "queue"): closed_object_schema(count=INTEGER),
    ("GET", "events"): closed_object_schema(
        events=array_schema(object_schema(["kind", "id", "at"], kind={"enum": ["call", "delivery"]}, id=INTEGER)),
        lastId=INTEGER,
        clearedId=INTEGER,
    ),
    ("GET", "summary"): closed_object_schema(
        clock=CLOCK,
        accounts=array_schema(ACCOUNT),
        users=array_schema(USER),
        faults=array_schema(FAULT_RULE_STATUS),
        switches=SWITCH_VALUES,
    ),
    ("GET", "faults"): closed_object_schema(faults=array_schema(FAULT_RULE_STATUS)),
    ("POST", "faults"): FAULT_RULE_STATUS,
    ("GET", "clock"): CLOCK,
    ("POST", "clock"): CLOCK,
    ("GET", "switches"): SWITCH_VALUES,
    ("PUT", "switches"): SWITCH_VALUES,
    ("GET", "state"): {"$ref": REF_TEMPLATE.format(model="StateJson")},
    ("GET", "accounts"): closed_object_schema(accounts=array_schema(ACCOUNT)),
    ("POST", "accounts"): ACCOUNT,
    ("GET", "devices"): closed_object_schema(devices=array_schema(DEVICE)),
    ("POST", "devices"): DEVICE,
    ("GET", "users"): closed_object_schema(users=array_schema(USER)),
    ("POST", "users/lock"): USER_STATE,
    ("POST", "users/unlock"): USER_STATE,
    ("POST", "listeners/drop"): ACCOUNT,
    ("POST", "listeners/restore"): ACCOUNT,
    ("GET", "outbound-messages"): closed_object_schema(
        outboundMessages=array_schema(object_schema(["requestId", "state"], requestId=STRING))
    ),
    ("GET", "archive"): closed_object_schema(archive=array_schema(object_schema(["requestId"], requestId=STRING))),
    ("POST", "archive/resend"): closed_object_schema(count=INTEGER),
    ("GET", "idle"): closed_object_schema(idle=BOOLEAN),
    ("GET", "resolve"): MAPPING,
    ("PUT", "resolve"): MAPPING,
}


def build_control_document(url: str, endpoints: Sequence[Endpoint]) -> Schema:
    """Build the document of the control API. `url` is the root of the emulator."""
    models = [model for endpoint in endpoints for model in (endpoint.body, endpoint.query) if model is not None]
    references, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], by_alias=True, ref_template=REF_TEMPLATE
    )
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        operation = _build_operation(endpoint)
        if endpoint.body is not None:
            content = {"application/json": {"schema": references[endpoint.body, "validation"]}}
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(PREFIX + endpoint.path.replace(":int", ""), {})[endpoint.method.lower()] = operation
    document = build_document("Control API of the ThingSpace emulator", url, paths)
    document["components"]["schemas"] = definitions["$defs"]
    return document


def _build_operation(endpoint: Endpoint) -> Schema:
    schema = RESPONSES.get((endpoint.method, endpoint.path), {"type": "object"})
    error_response = build_response(closed_object_schema(error=STRING), "Rejected")
    parameters: list[Schema] = []
    if endpoint.query is not None:
        query = endpoint.query.model_json_schema(by_alias=True)
        parameters += [
            {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": property_schema}
            for name, property_schema in query["properties"].items()
        ]
    if "{number" in endpoint.path:
        parameters.append({"name": "number", "in": "path", "required": True, "schema": {**INTEGER, "minimum": 0}})
    return {
        "operationId": f"{endpoint.method.lower()} {endpoint.path}",
        "summary": (endpoint.handler.__doc__ or "").partition("\n")[0],
        "parameters": parameters,
        "responses": {
            str(endpoint.status): build_response(schema, "Done"),
            "400": error_response,
            "403": error_response,
        },
    }
