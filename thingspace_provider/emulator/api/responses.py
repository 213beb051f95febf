"""Responses of the API, with the four formats of error responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thingspace_provider.emulator.platform.faults import FaultResponse

JSON_TYPE = "application/json; charset=UTF-8"
XML_TYPE = "application/xml; charset=UTF-8"

GATEWAY_ERRORS: dict[str, tuple[int, str, str]] = {
    "900901": (401, "Invalid Credentials", "Access failure for API: /m2m/v1, version: v1. Check the access token."),
    "900902": (
        401,
        "Missing Credentials",
        "Expected an Authorization header of the form 'Authorization: Bearer TOKEN'.",
    ),
    "900906": (
        400,
        "No matching resource found in the API for the given request",
        "Access failure for API: /m2m/v1, version: v1. Check the path and the method.",
    ),
}
"""Code of a gateway error -> (HTTP status, message, description)."""

# Services that prefix an error code. They vary, so a client must compare the rest of the code only.
SESSION_PREFIX = "UnifiedWebService"
SMS_PREFIX = "EnhancedConnectivityService"
CALLBACK_PREFIX = "CallbackRegistrationService"


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """HTTP response, without its Content-Length."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    error_code: str | None = None


class RequestRejected(Exception):
    """A request is rejected with an error response."""

    def __init__(self, response: ApiResponse) -> None:
        super().__init__(response.error_code)
        self.response = response


def encode(value: Any) -> bytes:
    """Encode JSON as ThingSpace does: in UTF-8, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> ApiResponse:
    """Build a response with a JSON body."""
    return ApiResponse(status, encode(value), (("Content-Type", JSON_TYPE), *(headers or {}).items()))


def empty_response(headers: Mapping[str, str] | None = None) -> ApiResponse:
    """Build a response with status 200 and no body."""
    return ApiResponse(200, b"", tuple((headers or {}).items()))


def gateway_error(code: str, status: int | None = None) -> ApiResponse:
    """Build an error in the format `gateway`: `{"fault": {"code", "message", "description"}}`, the code a string."""
    usual_status, message, description = GATEWAY_ERRORS[code]
    body = {"fault": {"code": code, "message": message, "description": description}}
    return ApiResponse(status or usual_status, encode(body), (("Content-Type", JSON_TYPE),), code)


def m2m_error(code: str, message: str, status: int = 400) -> ApiResponse:
    """Build an error in the format `m2m`: `{"errorCode", "errorMessage"}`."""
    body = {"errorCode": code, "errorMessage": message}
    return ApiResponse(status, encode(body), (("Content-Type", JSON_TYPE),), code)


def rejection(prefix: str, code: str, message: str, status: int = 400) -> RequestRejected:
    """Build the exception for an m2m error response."""
    return RequestRejected(m2m_error(f"{prefix}.{code}", message, status))


def oauth_error(error: str, description: str, status: int) -> ApiResponse:
    """Build an error in the format `oauth`: `{"error_description", "error"}`."""
    body = {"error_description": description, "error": error}
    return ApiResponse(status, encode(body), (("Content-Type", JSON_TYPE),), error)


def xml_error(status: int) -> ApiResponse:
    """Build an error in XML, as for a wrong authentication scheme (403) or a wrong path (404)."""
    reason, description = {
        403: ("Forbidden", "The requested resource does not accept this authentication."),
        404: ("Not Found", "The requested resource is not available."),
    }.get(status, ("Status report", "The request was not processed."))
    body = (
        f'<am:fault xmlns:am="http://wso2.org/apimanager"><am:code>{status}</am:code>'
        f"<am:type>Status report</am:type><am:message>{reason}</am:message>"
        f"<am:description>{description}</am:description></am:fault>"
    )
    return ApiResponse(status, body.encode(), (("Content-Type", XML_TYPE),), f"xml-{status}")


def fault_response(response: FaultResponse) -> ApiResponse:
    """Render the response of a fault."""
    match response.format:
        case "gateway":
            return gateway_error(response.code or "", response.status)
        case "m2m":
            return m2m_error(f"{SESSION_PREFIX}.{response.code}", response.message, response.status or 400)
        case "oauth":
            return oauth_error(response.code or "invalid_client", response.message, response.status or 401)
        case "xml":
            return xml_error(response.status or 403)
    status, body, headers = response.status or 200, response.body, tuple(response.headers.items())
    if isinstance(body, str):
        return ApiResponse(status, body.encode(), headers, f"fault-{status}")
    return ApiResponse(status, encode(body), (("Content-Type", JSON_TYPE), *headers), f"fault-{status}")
