"""Both faces of the emulator as OpenAPI 3.1: ThingSpace's calls, and the control plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route as ControlRoute

from thingspace_provider.emulator.api.request_bodies import DEVICE_ID_PATTERNS, ENCODINGS, SERVICES
from thingspace_provider.emulator.api.routes import ROUTES, WITHOUT_ACCESS_TOKEN, WITHOUT_SESSION, Route
from thingspace_provider.emulator.platform.faults import ACTIONS, DELIVERY, MATCH_FIELDS, OPERATIONS
from thingspace_provider.emulator.platform.switches import PRESETS, SWITCHES

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}


def object_schema(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """The schema of an object."""
    return {"type": "object", "properties": properties, "required": list(required)}


def closed_object_schema(**properties: Schema) -> Schema:
    """The schema of an object that has all of these properties and no others."""
    return {**object_schema(list(properties), **properties), "additionalProperties": False}


def array_schema(items: Schema) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": items}


DEVICE_ID = closed_object_schema(kind=STRING, id=STRING)
GATEWAY_ERROR = closed_object_schema(fault=closed_object_schema(code=STRING, message=STRING, description=STRING))
M2M_ERROR = closed_object_schema(errorCode=STRING, errorMessage=STRING)
OAUTH_ERROR = closed_object_schema(error=STRING, error_description=STRING)
ACCEPTED = closed_object_schema(accountName=STRING, serviceName=STRING)
LISTING_ENTRY = {
    **object_schema(
        ["accountName", "serviceName", "url"], accountName=STRING, serviceName=STRING, url=STRING, username=STRING
    ),
}
LISTING_ENTRY["properties"]["password"] = STRING
HISTORY = closed_object_schema(
    messages=array_schema(closed_object_schema(deviceIds=array_schema(DEVICE_ID), message=STRING, timestamp=STRING)),
    hasMoreData=BOOLEAN,
)

FORMS: dict[str, Schema] = {
    "token": object_schema(["grant_type"], grant_type={"enum": ["client_credentials"]}, scope=STRING),
    "revoke": object_schema(["grant_type", "token"], grant_type={"enum": ["client_credentials"]}, token=STRING),
}
BODIES: dict[str, Schema] = {
    "login": object_schema(["username", "password"], username=STRING, password=STRING),
    "resetPassword": object_schema(["oldPassword"], oldPassword=STRING),
    "registerCallback": object_schema(
        ["name", "url"], name={"enum": list(SERVICES)}, url={"type": "string", "format": "uri"}, username=STRING
    ),
    "sendSms": object_schema(
        ["smsMessage"],
        accountName=STRING,
        smsMessage={"type": "string", "minLength": 1, "maxLength": 160},
        deviceIds=array_schema(object_schema(["kind", "id"], kind={"enum": list(DEVICE_ID_PATTERNS)}, id=STRING)),
        groupName=STRING,
        servicePlan=STRING,
        customFields=array_schema(object_schema(["key", "value"], key=STRING, value=STRING)),
        dataEncoding={"enum": list(ENCODINGS)},
        timeToLive=STRING,
    ),
}
BODIES["registerCallback"]["properties"]["password"] = STRING
RESPONSES: dict[str, dict[int, Schema | None]] = {
    "token": {200: closed_object_schema(access_token=STRING, scope=STRING, token_type=STRING, expires_in=INTEGER)},
    "revoke": {200: None},
    "login": {200: closed_object_schema(sessionToken={"type": "string", "format": "uuid"})},
    "logout": {200: closed_object_schema(sessionToken=STRING)},
    "resetPassword": {200: closed_object_schema(newPassword=STRING)},
    "listCallbacks": {200: {"anyOf": [array_schema(LISTING_ENTRY), {"type": "null"}]}},
    "registerCallback": {200: ACCEPTED},
    "deregisterCallback": {200: ACCEPTED},
    "sendSms": {200: closed_object_schema(requestId={"type": "string", "format": "uuid"})},
    "smsHistory": {200: HISTORY, 202: HISTORY},
    "startCallbacks": {200: closed_object_schema(success=BOOLEAN)},
}


def build_thingspace_document(url: str) -> Schema:
    """ThingSpace's face; `url` ends in `/api`."""
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _build_operation(route)
    return _build_document("ThingSpace, emulated: SMS, sessions, callbacks", url, paths)


def build_control_document(
    url: str, routes: Sequence[ControlRoute], documentation: dict[tuple[str, str], str]
) -> Schema:
    """The control plane; `documentation` maps (method, path) to a handler's docstring."""
    paths: dict[str, Schema] = {}
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = _build_control_operation(method, route.path, documentation[method, route.path])
            paths.setdefault(route.path.replace(":int", ""), {})[method.lower()] = operation
    return _build_document("Control plane of the ThingSpace emulator", url, paths)


def _build_document(title: str, url: str, paths: dict[str, Schema]) -> Schema:
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


def _build_operation(route: Route) -> Schema:
    """One call with everything it may answer."""
    names = [part.strip("{}") for part in route.segments if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {**STRING, "minLength": 1}} for name in names
    ]
    if route.operation == "smsHistory":
        parameters.append({"name": "next", "in": "query", "required": False, "schema": STRING})
    security: dict[str, list[str]] = {"bearer": [], "session": []}
    if route.operation in WITHOUT_SESSION:
        security = {"application": []} if route.operation in WITHOUT_ACCESS_TOKEN else {"bearer": []}
    error_response = {"anyOf": [M2M_ERROR, GATEWAY_ERROR, OAUTH_ERROR]}
    responses = {
        str(status): _build_response(schema, "Accepted") for status, schema in RESPONSES[route.operation].items()
    }
    responses |= {str(status): _build_response(error_response, "Refused") for status in (400, 401)}
    xml = {"description": "Refused", "content": {"application/xml": {"schema": STRING}}}
    operation: Schema = {
        "operationId": route.operation,
        "summary": route.operation,
        "parameters": parameters,
        "responses": {**responses, "403": xml, "404": xml, "413": xml},
        "security": [security],
    }
    if route.operation in FORMS:
        content = {"application/x-www-form-urlencoded": {"schema": FORMS[route.operation]}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.operation in BODIES:
        content = {"application/json": {"schema": BODIES[route.operation]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _build_response(schema: Schema | None, description: str) -> Schema:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


SWITCH_VALUES: Schema = {
    "type": "object",
    "properties": {
        "preset": {"enum": list(PRESETS)},
        **{switch.name: {"enum": list(switch.choices), "description": switch.question} for switch in SWITCHES},
    },
    "additionalProperties": False,
}
FAULT_RULE = {
    **object_schema(
        ["operation"], operation={"enum": [*OPERATIONS, DELIVERY]}, times={"type": "integer", "minimum": 1}
    ),
    "description": f"Exactly one of: {', '.join(ACTIONS)}.",
}
FAULT_RULE["properties"] |= {
    "skip": {"type": "integer", "minimum": 0},
    "match": {"type": "object", "properties": dict.fromkeys(MATCH_FIELDS, STRING), "additionalProperties": False},
    "response": {"type": "object"},
    "delaySeconds": {"type": "number", "exclusiveMinimum": 0},
    "drop": {"enum": ["before", "after", True]},
    "hang": {"enum": ["before", "after", True]},
    "truncateBytes": {"type": "integer", "minimum": 0},
    "duplicate": {"type": "integer", "minimum": 1, "maximum": 100},
}
FAULT_RULE_STATUS = object_schema(
    ["id", "operation", "hits", "remaining"], id=INTEGER, operation=STRING, hits=INTEGER, remaining=INTEGER
)
CLOCK = closed_object_schema(now=STRING, seconds=NUMBER, frozen=BOOLEAN)
MAPPING: Schema = {"type": "object", "additionalProperties": STRING}
DEVICE = object_schema(
    ["deviceIds", "active", "reachable"], deviceIds=array_schema(DEVICE_ID), active=BOOLEAN, reachable=BOOLEAN
)
ACCOUNT = object_schema(
    ["accountName", "devices", "queued", "inFlight", "listeners"], accountName=STRING, queued=INTEGER
)

CONTROL_BODIES: dict[tuple[str, str], Schema] = {
    ("POST", "messages"): object_schema(
        ["accountName", "message"],
        accountName=STRING,
        message=STRING,
        deviceIds=array_schema(DEVICE_ID),
        repeat={"type": "integer", "minimum": 1, "maximum": 100_000},
    ),
    ("POST", "faults"): FAULT_RULE,
    ("POST", "clock"): object_schema(advanceSeconds={"type": "number", "minimum": 0}, frozen=BOOLEAN),
    ("PUT", "switches"): SWITCH_VALUES,
    ("PUT", "state"): object_schema(["version"], version=INTEGER),
    ("PUT", "resolve"): MAPPING,
    ("POST", "accounts"): object_schema(["accountName"], accountName=STRING, username=STRING),
    ("POST", "devices"): object_schema(
        ["accountName"], accountName=STRING, deviceIds=array_schema(DEVICE_ID), active=BOOLEAN
    ),
    ("POST", "users/unlock"): object_schema(["username"], username=STRING),
    ("POST", "archive/resend"): object_schema(["requestId"], requestId=STRING),
}
CONTROL_RESPONSES: dict[tuple[str, str], tuple[int, Schema]] = {
    ("GET", "connection"): (
        200,
        object_schema(["url", "appKey", "appSecret", "username", "password", "accounts"], url=STRING),
    ),
    ("POST", "messages"): (202, closed_object_schema(accountName=STRING, number=INTEGER, count=INTEGER)),
    ("GET", "queue"): (
        200,
        closed_object_schema(count=INTEGER, inFlight=INTEGER, messages=array_schema({"type": "object"})),
    ),
    ("GET", "journal"): (
        200,
        object_schema(["calls", "deliveries", "counts", "outcomes"], calls=array_schema({"type": "object"})),
    ),
    ("GET", "faults"): (200, closed_object_schema(faults=array_schema(FAULT_RULE_STATUS))),
    ("POST", "faults"): (201, FAULT_RULE_STATUS),
    ("GET", "clock"): (200, CLOCK),
    ("POST", "clock"): (200, CLOCK),
    ("GET", "switches"): (200, SWITCH_VALUES),
    ("PUT", "switches"): (200, SWITCH_VALUES),
    ("GET", "state"): (200, object_schema(["version", "accounts", "users"], version=INTEGER)),
    ("GET", "accounts"): (200, closed_object_schema(accounts=array_schema(ACCOUNT))),
    ("POST", "accounts"): (201, ACCOUNT),
    ("GET", "devices"): (200, closed_object_schema(devices=array_schema(DEVICE))),
    ("POST", "devices"): (200, DEVICE),
    ("GET", "users"): (
        200,
        closed_object_schema(
            users=array_schema(object_schema(["username", "failedLogins", "locked"], username=STRING))
        ),
    ),
    ("POST", "users/unlock"): (200, closed_object_schema(username=STRING, failedLogins=INTEGER, locked=BOOLEAN)),
    ("GET", "outbound-messages"): (
        200,
        closed_object_schema(outboundMessages=array_schema(object_schema(["requestId", "state"], requestId=STRING))),
    ),
    ("GET", "archive"): (
        200,
        closed_object_schema(archive=array_schema(object_schema(["requestId"], requestId=STRING))),
    ),
    ("POST", "archive/resend"): (200, closed_object_schema(count=INTEGER)),
    ("GET", "idle"): (200, closed_object_schema(idle=BOOLEAN)),
    ("GET", "resolve"): (200, MAPPING),
    ("PUT", "resolve"): (200, MAPPING),
}
QUERIES: dict[tuple[str, str], tuple[tuple[str, bool], ...]] = {
    ("GET", "queue"): (("accountName", True),),
    ("GET", "devices"): (("accountName", True),),
    ("GET", "journal"): (("operation", False), ("accountName", False)),
    ("GET", "idle"): (("timeoutSeconds", False),),
}


def _build_control_operation(method: str, path: str, documentation: str) -> Schema:
    """One handler; where nothing else is said it answers 200 with an empty object."""
    short = path.removeprefix("/_emulator/")
    status, schema = CONTROL_RESPONSES.get((method, short), (200, {"type": "object"}))
    error_response = _build_response(closed_object_schema(error=STRING), "What would be right")
    parameters = [
        {"name": name, "in": "query", "required": required, "schema": STRING}
        for name, required in QUERIES.get((method, short), ())
    ]
    if "{number" in path:
        parameters.append({"name": "number", "in": "path", "required": True, "schema": {**INTEGER, "minimum": 0}})
    operation: Schema = {
        "operationId": f"{method.lower()} {short}",
        "summary": documentation.partition("\n")[0],
        "parameters": parameters,
        "responses": {str(status): _build_response(schema, "Done"), "400": error_response, "403": error_response},
    }
    if (method, short) in CONTROL_BODIES:
        content = {"application/json": {"schema": CONTROL_BODIES[method, short]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
