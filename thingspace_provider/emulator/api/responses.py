"""The answers ThingSpace gives, and above all the four shapes in which it says no."""

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
"""Code of a gateway fault -> (HTTP status, message, description)."""

# Service names that stand before an error code. They vary in the field; a client must look at the rest only.
SESSION_PREFIX = "UnifiedWebService"
SMS_PREFIX = "EnhancedConnectivityService"
CALLBACK_PREFIX = "CallbackRegistrationService"


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """One HTTP answer: status, body bytes, headers without Content-Length."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    error_code: str | None = None


class RequestRejected(Exception):
    """A request ends here, with the answer it carries."""

    def __init__(self, response: ApiResponse) -> None:
        super().__init__(response.error_code)
        self.response = response


def encode(value: Any) -> bytes:
    """JSON as the platform writes it: UTF-8, no blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> ApiResponse:
    """A JSON answer."""
    return ApiResponse(status, encode(value), (("Content-Type", JSON_TYPE), *(headers or {}).items()))


def empty_response(headers: Mapping[str, str] | None = None) -> ApiResponse:
    """200 with no body at all."""
    return ApiResponse(200, b"", tuple((headers or {}).items()))


def gateway_error(code: str, status: int | None = None) -> ApiResponse:
    """First dialect: `{"fault": {"code", "message", "description"}}` from the gateway; code is a string."""
    usual_status, message, description = GATEWAY_ERRORS[code]
    body = {"fault": {"code": code, "message": message, "description": description}}
    return ApiResponse(status or usual_status, encode(body), (("Content-Type", JSON_TYPE),), code)


def m2m_error(code: str, message: str, status: int = 400) -> ApiResponse:
    """Second dialect: `{"errorCode", "errorMessage"}` from the m2m services."""
    body = {"errorCode": code, "errorMessage": message}
    return ApiResponse(status, encode(body), (("Content-Type", JSON_TYPE),), code)


def oauth_error(error: str, description: str, status: int) -> ApiResponse:
    """Third dialect: `{"error_description", "error"}` from the token service."""
    body = {"error_description": description, "error": error}
    return ApiResponse(status, encode(body), (("Content-Type", JSON_TYPE),), error)


def xml_error(status: int) -> ApiResponse:
    """Fourth dialect: XML, seen for a wrong authentication scheme (403) and a wrong endpoint (404)."""
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
