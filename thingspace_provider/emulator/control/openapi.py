"""Both faces of the emulator as OpenAPI 3.1: ThingSpace's calls, and the control plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import Route as ControlRoute

from thingspace_provider.emulator.api.request_bodies import ENCODINGS, IDENTIFIERS, SERVICES
from thingspace_provider.emulator.api.routes import ROUTES, WITHOUT_BEARER, WITHOUT_SESSION, Route
from thingspace_provider.emulator.platform.faults import ACTIONS, DELIVERY, FACTS, OPERATIONS
from thingspace_provider.emulator.platform.switches import PROFILES, SWITCHES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}


def thing(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """The schema of an object."""
    return {"type": "object", "properties": properties, "required": list(required)}


def exactly(**properties: Schema) -> Schema:
    """The schema of an object that has all of these properties and no others."""
    return {**thing(list(properties), **properties), "additionalProperties": False}


def several(items: Schema) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": items}


DEVICE_ID = exactly(kind=TEXT, id=TEXT)
FAULT = exactly(fault=exactly(code=TEXT, message=TEXT, description=TEXT))
ERROR = exactly(errorCode=TEXT, errorMessage=TEXT)
OAUTH_ERROR = exactly(error=TEXT, error_description=TEXT)
ACCEPTED = exactly(accountName=TEXT, serviceName=TEXT)
LISTED = {
    **thing(["accountName", "serviceName", "url"], accountName=TEXT, serviceName=TEXT, url=TEXT, username=TEXT),
}
LISTED["properties"]["password"] = TEXT
HISTORY = exactly(
    messages=several(exactly(deviceIds=several(DEVICE_ID), message=TEXT, timestamp=TEXT)), hasMoreData=FLAG
)

FORMS: dict[str, Schema] = {
    "token": thing(["grant_type"], grant_type={"enum": ["client_credentials"]}, scope=TEXT),
    "revoke": thing(["grant_type", "token"], grant_type={"enum": ["client_credentials"]}, token=TEXT),
}
BODIES: dict[str, Schema] = {
    "login": thing(["username", "password"], username=TEXT, password=TEXT),
    "resetPassword": thing(["oldPassword"], oldPassword=TEXT),
    "registerCallback": thing(
        ["name", "url"], name={"enum": list(SERVICES)}, url={"type": "string", "format": "uri"}, username=TEXT
    ),
    "sendSms": thing(
        ["smsMessage"],
        accountName=TEXT,
        smsMessage={"type": "string", "minLength": 1, "maxLength": 160},
        deviceIds=several(thing(["kind", "id"], kind={"enum": list(IDENTIFIERS)}, id=TEXT)),
        groupName=TEXT,
        servicePlan=TEXT,
        customFields=several(thing(["key", "value"], key=TEXT, value=TEXT)),
        dataEncoding={"enum": list(ENCODINGS)},
        timeToLive=TEXT,
    ),
}
BODIES["registerCallback"]["properties"]["password"] = TEXT
ANSWERS: dict[str, dict[int, Schema | None]] = {
    "token": {200: exactly(access_token=TEXT, scope=TEXT, token_type=TEXT, expires_in=WHOLE)},
    "revoke": {200: None},
    "login": {200: exactly(sessionToken={"type": "string", "format": "uuid"})},
    "logout": {200: exactly(sessionToken=TEXT)},
    "resetPassword": {200: exactly(newPassword=TEXT)},
    "listCallbacks": {200: {"anyOf": [several(LISTED), {"type": "null"}]}},
    "registerCallback": {200: ACCEPTED},
    "deregisterCallback": {200: ACCEPTED},
    "sendSms": {200: exactly(requestId={"type": "string", "format": "uuid"})},
    "smsHistory": {200: HISTORY, 202: HISTORY},
    "startCallbacks": {200: exactly(success=FLAG)},
}


def thingspace(url: str) -> Schema:
    """ThingSpace's face; `url` ends in `/api`."""
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _call(route)
    return _document("ThingSpace, emulated: SMS, sessions, callbacks", url, paths)


def control(url: str, routes: Sequence[ControlRoute], documentation: dict[tuple[str, str], str]) -> Schema:
    """The control plane; `documentation` maps (method, path) to a handler's docstring."""
    paths: dict[str, Schema] = {}
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = _control_call(method, route.path, documentation[method, route.path])
            paths.setdefault(route.path.replace(":int", ""), {})[method.lower()] = operation
    return _document("Control plane of the ThingSpace emulator", url, paths)


def _document(title: str, url: str, paths: dict[str, Schema]) -> Schema:
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


def _call(route: Route) -> Schema:
    """One call with everything it may answer."""
    names = [part.strip("{}") for part in route.segments if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}} for name in names]
    if route.operation == "smsHistory":
        parameters.append({"name": "next", "in": "query", "required": False, "schema": TEXT})
    security: dict[str, list[str]] = {"bearer": [], "session": []}
    if route.operation in WITHOUT_SESSION:
        security = {"application": []} if route.operation in WITHOUT_BEARER else {"bearer": []}
    refused = {"anyOf": [ERROR, FAULT, OAUTH_ERROR]}
    responses = {str(status): _answer(schema, "Accepted") for status, schema in ANSWERS[route.operation].items()}
    responses |= {str(status): _answer(refused, "Refused") for status in (400, 401)}
    xml = {"description": "Refused", "content": {"application/xml": {"schema": TEXT}}}
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


def _answer(schema: Schema | None, description: str) -> Schema:
    if schema is None:
        return {"description": description}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


SWITCH_VALUES: Schema = {
    "type": "object",
    "properties": {
        "profile": {"enum": list(PROFILES)},
        **{switch.name: {"enum": list(switch.choices), "description": switch.question} for switch in SWITCHES},
    },
    "additionalProperties": False,
}
RULE = {
    **thing(["operation"], operation={"enum": [*OPERATIONS, DELIVERY]}, times={"type": "integer", "minimum": 1}),
    "description": f"Exactly one of: {', '.join(ACTIONS)}.",
}
RULE["properties"] |= {
    "skip": {"type": "integer", "minimum": 0},
    "match": {"type": "object", "properties": dict.fromkeys(FACTS, TEXT), "additionalProperties": False},
    "answer": {"type": "object"},
    "delay": {"type": "number", "exclusiveMinimum": 0},
    "drop": {"enum": ["before", "after", True]},
    "hang": {"enum": ["before", "after", True]},
    "truncate": {"type": "integer", "minimum": 0},
    "duplicate": {"type": "integer", "minimum": 1, "maximum": 100},
}
ARMED = thing(["id", "operation", "hits", "left"], id=WHOLE, operation=TEXT, hits=WHOLE, left=WHOLE)
CLOCK = exactly(now=TEXT, seconds=NUMBER, frozen=FLAG)
MAPPING: Schema = {"type": "object", "additionalProperties": TEXT}
DEVICE = thing(["deviceIds", "active", "reachable"], deviceIds=several(DEVICE_ID), active=FLAG, reachable=FLAG)
ACCOUNT = thing(["accountName", "devices", "queued", "inFlight", "listeners"], accountName=TEXT, queued=WHOLE)

CONTROL_BODIES: dict[tuple[str, str], Schema] = {
    ("POST", "messages"): thing(
        ["accountName", "message"],
        accountName=TEXT,
        message=TEXT,
        deviceIds=several(DEVICE_ID),
        repeat={"type": "integer", "minimum": 1, "maximum": 1000},
    ),
    ("POST", "faults"): RULE,
    ("POST", "clock"): thing(advanceSeconds={"type": "number", "minimum": 0}, frozen=FLAG),
    ("PUT", "switches"): SWITCH_VALUES,
    ("PUT", "state"): thing(["version"], version=WHOLE),
    ("PUT", "resolve"): MAPPING,
    ("POST", "accounts"): thing(["accountName"], accountName=TEXT, username=TEXT),
    ("POST", "devices"): thing(["accountName"], accountName=TEXT, deviceIds=several(DEVICE_ID), active=FLAG),
    ("POST", "users/unlock"): thing(["username"], username=TEXT),
    ("POST", "archive/resend"): thing(["requestId"], requestId=TEXT),
}
CONTROL_ANSWERS: dict[tuple[str, str], tuple[int, Schema]] = {
    ("GET", "connection"): (200, thing(["url", "appKey", "appSecret", "username", "password", "accounts"], url=TEXT)),
    ("POST", "messages"): (202, exactly(accountName=TEXT, number=WHOLE, count=WHOLE)),
    ("GET", "queue"): (200, exactly(count=WHOLE, inFlight=WHOLE, messages=several({"type": "object"}))),
    ("GET", "journal"): (200, thing(["calls", "deliveries", "counts", "outcomes"], calls=several({"type": "object"}))),
    ("GET", "faults"): (200, exactly(faults=several(ARMED))),
    ("POST", "faults"): (201, ARMED),
    ("GET", "clock"): (200, CLOCK),
    ("POST", "clock"): (200, CLOCK),
    ("GET", "switches"): (200, SWITCH_VALUES),
    ("PUT", "switches"): (200, SWITCH_VALUES),
    ("GET", "state"): (200, thing(["version", "accounts", "users"], version=WHOLE)),
    ("GET", "accounts"): (200, exactly(accounts=several(ACCOUNT))),
    ("POST", "accounts"): (201, ACCOUNT),
    ("GET", "devices"): (200, exactly(devices=several(DEVICE))),
    ("POST", "devices"): (200, DEVICE),
    ("GET", "users"): (200, exactly(users=several(thing(["username", "strikes", "locked"], username=TEXT)))),
    ("POST", "users/unlock"): (200, exactly(username=TEXT, strikes=WHOLE, locked=FLAG)),
    ("GET", "commands"): (200, exactly(commands=several(thing(["requestId", "state"], requestId=TEXT)))),
    ("GET", "archive"): (200, exactly(archive=several(thing(["requestId"], requestId=TEXT)))),
    ("POST", "archive/resend"): (200, exactly(count=WHOLE)),
    ("GET", "settled"): (200, exactly(settled=FLAG)),
    ("GET", "resolve"): (200, MAPPING),
    ("PUT", "resolve"): (200, MAPPING),
}
QUERIES: dict[tuple[str, str], tuple[tuple[str, bool], ...]] = {
    ("GET", "queue"): (("accountName", True),),
    ("GET", "devices"): (("accountName", True),),
    ("GET", "journal"): (("operation", False), ("accountName", False)),
    ("GET", "settled"): (("timeoutSeconds", False),),
}


def _control_call(method: str, path: str, documentation: str) -> Schema:
    """One handler; where nothing else is said it answers 200 with an empty object."""
    short = path.removeprefix("/_emulator/")
    status, schema = CONTROL_ANSWERS.get((method, short), (200, {"type": "object"}))
    wrong = _answer(exactly(error=TEXT), "What would be right")
    parameters = [
        {"name": name, "in": "query", "required": required, "schema": TEXT}
        for name, required in QUERIES.get((method, short), ())
    ]
    if "{number" in path:
        parameters.append({"name": "number", "in": "path", "required": True, "schema": {**WHOLE, "minimum": 0}})
    operation: Schema = {
        "operationId": f"{method.lower()} {short}",
        "summary": documentation.partition("\n")[0],
        "parameters": parameters,
        "responses": {str(status): _answer(schema, "Done"), "400": wrong, "403": wrong},
    }
    if (method, short) in CONTROL_BODIES:
        content = {"application/json": {"schema": CONTROL_BODIES[method, short]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
