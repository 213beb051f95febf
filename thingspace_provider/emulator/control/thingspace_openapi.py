"""OpenAPI 3.1 document of the emulated ThingSpace API."""

from __future__ import annotations

from thingspace_provider.emulator.api.request_bodies import DEVICE_ID_PATTERNS, ENCODINGS, SERVICES
from thingspace_provider.emulator.api.routes import ROUTES, WITHOUT_ACCESS_TOKEN, WITHOUT_SESSION, Route
from thingspace_provider.emulator.control.schemas import (
    BOOLEAN,
    DEVICE_ID,
    INTEGER,
    STRING,
    Schema,
    array_schema,
    build_document,
    build_response,
    closed_object_schema,
    object_schema,
)

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
    """Build the document of the emulated API. `url` ends in `/api`."""
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _build_operation(route)
    return build_document("Emulated ThingSpace: SMS, sessions, callbacks", url, paths)


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
        str(status): build_response(schema, "Accepted") for status, schema in RESPONSES[route.operation].items()
    }
    responses |= {str(status): build_response(error_response, "Rejected") for status in (400, 401)}
    xml = {"description": "Rejected", "content": {"application/xml": {"schema": STRING}}}
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
